#include "engine/model/jinja.h"

#include <exception>

#include "engine/model/jinja_eval.h"
#include "engine/model/jinja_lexer.h"
#include "engine/model/jinja_parser.h"

namespace tern::jinja {

struct Template::Program {
  Block body;
  Limits limits;
};

namespace {
Error to_error(const TemplateError& error) {
  constexpr size_t kLongest = 2000;  // a template may put any text into its message
  std::string message = error.message;
  if (message.size() > kLongest) {
    size_t end = kLongest;
    while (end > 0 && (static_cast<unsigned char>(message[end]) & 0xC0U) == 0x80U) {
      --end;
    }
    message = message.substr(0, end) + "...";
  }
  return Error{error.line > 0 ? "line " + std::to_string(error.line) + ": " + message : message};
}
}  // namespace

Result<Template> Template::parse(std::string_view source, const Limits& limits) {
  if (source.size() > limits.template_bytes) {
    return Error{"the template has " + std::to_string(source.size()) + " bytes, more than the " +
                 std::to_string(limits.template_bytes) + " allowed"};
  }
  try {
    return Template(
        std::make_shared<const Program>(Program{jinja::parse(tokenize(source), limits), limits}));
  } catch (const TemplateError& error) {
    return to_error(error);
  } catch (const std::exception& error) {  // std::bad_alloc
    return Error{error.what()};
  }
}

Result<std::string> Template::render(const Dict& globals, std::time_t now) const {
  ASSIGN_OR_RETURN(MarkedText text, render_marked(globals, now));
  return std::move(text.bytes);
}

Result<MarkedText> Template::render_marked(const Dict& globals, std::time_t now) const {
  try {
    return Interpreter(program_->limits, now).run(program_->body, globals);
  } catch (const TemplateError& error) {
    return to_error(error);
  } catch (const std::exception& error) {
    return Error{error.what()};
  }
}

}  // namespace tern::jinja
