#pragma once
// A small interpreter for Jinja templates: what chat templates use of it, rendered as Hugging Face
// renders them. No package of Debian's offers one for C++.
//
// What it leaves out: template inheritance and imports, autoescaping, changing
// lists and dicts in place (Hugging Face's sandbox forbids that too).

#include <ctime>
#include <memory>
#include <string>
#include <string_view>

#include "engine/base/result.h"
#include "engine/model/jinja_value.h"

namespace tern::jinja {

class Template {
 public:
  // Errors name the line: "line 3: expected '}}', found 'x'".
  static Result<Template> parse(std::string_view source, const Limits& limits = {});

  // `globals` are the variables that the template sees; `now` is what strftime_now() tells.
  Result<std::string> render(const Dict& globals, std::time_t now = std::time(nullptr)) const;
  // The same, with the marks of what came from marked values.
  Result<MarkedText> render_marked(const Dict& globals, std::time_t now = std::time(nullptr)) const;

 private:
  struct Program;
  explicit Template(std::shared_ptr<const Program> program) : program_(std::move(program)) {}
  std::shared_ptr<const Program> program_;
};

}  // namespace tern::jinja
