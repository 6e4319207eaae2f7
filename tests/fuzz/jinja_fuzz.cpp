// Any bytes as a chat template, upon one fixed conversation: a text or a message comes back, within
// the limits, and the marks of what the messages say are in order.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "engine/model/jinja.h"

namespace tern::jinja {
namespace {

Value text(std::string_view what) {
  return Value::string(std::string(what));
}

Value message(std::string_view role, std::string_view content) {
  Dict one;
  one.set("role", text(role));
  MarkedText marked;
  marked.append(content, true);
  one.set("content", Value::text(std::move(marked)));
  return Value::dict(std::move(one));
}

Dict variables() {
  Dict type;
  type.set("type", Value::list({text("string"), text("null")}));
  Dict parameters;
  parameters.set("properties", Value::dict(type));
  Dict tool;
  tool.set("name", text("clock"));
  tool.set("parameters", Value::dict(parameters));
  Dict globals;
  globals.set(
      "messages",
      Value::list({message("system", "Be brief."), message("user", " Gr\u00FC\u00DFe \xFF\n"),
                   message("assistant", "<think>\nHm.</think>Yes."), message("user", "")}));
  globals.set("tools", Value::list({Value::dict(tool)}));
  globals.set("add_generation_prompt", Value::boolean(true));
  globals.set("bos_token", text("<s>"));
  globals.set("eos_token", text("</s>"));
  globals.set("documents", Value::none());
  globals.set("x", Value::real(1.5));
  return globals;
}

// Small enough that an input which uses them up takes a moment only.
Limits limits() {
  Limits small;
  small.template_bytes = 1 << 14;
  small.iterations = 1 << 12;
  small.steps = 1 << 17;
  small.output_bytes = 1 << 20;
  small.memory_bytes = 1 << 22;
  return small;
}

}  // namespace
}  // namespace tern::jinja

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tern::jinja;
  static const Dict globals = variables();
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto parsed = Template::parse(source, limits());
  if (!parsed) {
    return 0;
  }
  const auto marked = parsed->render_marked(globals, 0);
  const auto first =
      marked ? tern::Result<std::string>(marked->bytes) : tern::Result<std::string>(marked.error());
  const auto second = parsed->render(globals, 0);
  // The same again; a rendering leaves nothing behind in the template.
  if (first.has_value() != second.has_value() || (first && *first != *second) ||
      (first && first->size() > limits().output_bytes)) {
    std::abort();
  }
  size_t done = 0;
  for (const tern::TextSpan& span : marked ? marked->untrusted : std::vector<tern::TextSpan>()) {
    if (span.begin >= span.end || span.end > marked->size() || (done > 0 && span.begin <= done)) {
      std::abort();
    }
    done = span.end;
  }
  return 0;
}
