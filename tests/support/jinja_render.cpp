// jinja_render TEMPLATE CONTEXT...: prints what the template gives for each context, a JSON array
// of the texts. CONTEXT is a JSON file with an object of variables. A rendering that fails gives
// {"error": message} in its place. The clock stands at 2024-07-26 12:00 UTC, so that two programs
// can agree on it.

#include <fstream>
#include <iostream>
#include <iterator>

#include "engine/model/jinja.h"
#include "tests/support/json_value.h"

namespace {

constexpr std::time_t kNow = 1721995200;

std::string read(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

nlohmann::ordered_json render(const tern::Result<tern::jinja::Template>& text, const char* path) {
  if (!text) {
    return {{"error", text.error().message}};
  }
  const auto context = tern::test::to_value(nlohmann::ordered_json::parse(read(path)));
  const auto rendered = text->render(context.as_dict(), kNow);
  return rendered ? nlohmann::ordered_json(*rendered)
                  : nlohmann::ordered_json{{"error", rendered.error().message}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: jinja_render TEMPLATE CONTEXT...\n";
    return 2;
  }
  const auto text = tern::jinja::Template::parse(read(argv[1]));
  auto out = nlohmann::ordered_json::array();
  for (int i = 2; i < argc; ++i) {
    out.push_back(render(text, argv[i]));
  }
  std::cout << out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
}
