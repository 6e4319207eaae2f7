// The template interpreter against Python's jinja2 in Hugging Face's settings:
// tests/golden/templates/expected.json, which make_templates.py beside it writes.

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "engine/model/jinja.h"
#include "tests/support/json_value.h"
#include "tests/support/source_dir.h"

namespace tern {
namespace {

using nlohmann::ordered_json;

constexpr std::time_t kNow =
    1721995200;  // 2024-07-26 12:00 UTC: what hf_jinja.py's strftime_now tells

std::string read(const std::string& name) {
  std::ifstream file(testing::source_path("tests/golden/templates") / name, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_TRUE(file) << name;
  return text.str();
}

const ordered_json& golden() {
  static const ordered_json json = ordered_json::parse(read("expected.json"));
  return json;
}

// `expected` is a text, or null where jinja2 refuses.
void expect_same(const std::string& source, const ordered_json& variables,
                 const ordered_json& expected) {
  const auto text = jinja::Template::parse(source);
  const auto rendered = text ? text->render(test::to_value(variables).as_dict(), kNow)
                             : Result<std::string>(text.error());
  if (expected.is_null()) {
    EXPECT_FALSE(rendered) << *rendered;
    return;
  }
  ASSERT_TRUE(rendered) << rendered.error().message;
  EXPECT_EQ(*rendered, expected.get<std::string>());
}

TEST(JinjaGolden, TemplatesOfEveryFamily) {
  size_t texts = 0;
  for (const auto& [name, conversations] : golden()["templates"].items()) {
    const std::string source = read("jinja/" + name + ".jinja");
    for (const auto& [conversation, expected] : conversations.items()) {
      SCOPED_TRACE(name + ", " + conversation);
      expect_same(source, golden()["contexts"][conversation], expected);
      texts += expected.is_null() ? 0U : 1U;
    }
  }
  EXPECT_GE(golden()["templates"].size(), 20U);
  EXPECT_GE(texts, 400U);
}

TEST(JinjaGolden, Expressions) {
  for (const ordered_json& one : golden()["expressions"]) {
    SCOPED_TRACE(one["source"].get<std::string>());
    expect_same(one["source"], golden()["variables"], one["text"]);
  }
  EXPECT_GE(golden()["expressions"].size(), 100U);
}

}  // namespace
}  // namespace tern
