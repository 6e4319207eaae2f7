// What the interpreter refuses: errors and their lines, and the limits. What it renders is compared
// with jinja2 in jinja_golden_test.cpp.

#include "engine/model/jinja.h"

#include <gtest/gtest.h>

#include "engine/model/jinja_lexer.h"

namespace tern::jinja {
namespace {

std::string render(const std::string& source, const Limits& limits = {}, const Dict& globals = {}) {
  const auto text = Template::parse(source, limits);
  const auto rendered = text ? text->render(globals) : Result<std::string>(text.error());
  return rendered ? *rendered : "error: " + rendered.error().message;
}

std::string repeat(const std::string& what, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) {
    out += what;
  }
  return out;
}

TEST(JinjaErrors, NameTheLineAndWhatIsWrong) {
  const struct {
    const char* source;
    const char* message;
  } cases[] = {
      {"a\n{{ x.y }}", "line 2: 'x' is undefined"},
      {"{% if 1 %}\n\n{{ nope() }}{% endif %}", "line 3: 'nope' is undefined"},
      {"\r\n\r\n{{ 1 + 'a' }}", "line 3: '+' does not go with int and str"},
      {"{{ 'a' | shout }}", "line 1: there is no filter 'shout'"},
      {"{{ 'a' is shouted }}", "line 1: there is no test 'shouted'"},
      {"{% for x in y %}", "line 1: expected {% endfor %}, found the end of the template"},
      {"{% if x %}\n{% endfor %}", "line 2: the tag 'endfor' is not known here"},
      {"{{ 1 +\n}}", "line 2: expected an expression, found the end of the tag"},
      {"{{ 'abc }}", "line 1: a string is not closed"},
      {"{# abc", "line 1: a comment {# is not closed"},
      {"{{ abc", "line 1: {{ is not closed by }}"},
      {"{% raw %} abc", "line 1: a {% raw %} has no {% endraw %}"},
      {"{{ (1] }}", "line 1: unexpected ']'"},
      {"{{ ? }}", "line 1: unexpected character '?'"},
      {"{% extends 'x' %}", "line 1: the tag 'extends' is not known here"},
      {"{% break %}", "line 1: 'break' stands outside of a loop"},
      {"{{ raise_exception('Roles!') }}", "line 1: the template refuses: Roles!"},
      {"{{ 'abc'.replace('a') }}", "line 1: replace needs the argument 'new'"},
      {"{{ 'abc' | trim(1, 2) }}", "line 1: trim takes at most 1 arguments, found 2"},
      {"{{ range(1, 2, 0) }}", "line 1: range() with step 0"},
      {"{{ 9223372036854775807 + 1 }}", "line 1: a number is too large"},
      {"{{ 99999999999999999999 }}", "line 1: the number 99999999999999999999 is too large"},
      {"{% set a.b = 1 %}",
       "line 1: cannot set the attribute 'b' of a Undefined: only of a namespace()"},
      {"{% macro f(a) %}{% endmacro %}\n{{ f(b=1) }}", "line 2: macro 'f' takes no argument 'b'"},
  };
  for (const auto& one : cases) {
    EXPECT_EQ(render(one.source), "error: " + std::string(one.message)) << one.source;
  }
}

TEST(JinjaErrors, ChangingAListInPlaceIsRefusedAsInTheSandbox) {
  EXPECT_EQ(render("{% set l = [] %}{{ l.append(1) }}"), "error: line 1: 'append' is undefined");
}

TEST(JinjaLimits, TemplateSize) {
  Limits limits;
  limits.template_bytes = 10;
  EXPECT_EQ(render("0123456789", limits), "0123456789");
  EXPECT_EQ(render("0123456789a", limits),
            "error: the template has 11 bytes, more than the 10 allowed");
}

TEST(JinjaLimits, NestingInTheText) {
  const std::string expected = "error: line 1: the template is nested more than 120 deep";
  EXPECT_EQ(render("{{ " + repeat("(", 100) + "1" + repeat(")", 100) + " }}"), "1");
  for (const auto& [open, close] :
       {std::pair("(", ")"), {"[", "]"}, {"{1:", "}"}, {"-", ""}, {"not ", ""}, {"f(", ")"}}) {
    EXPECT_EQ(render("{{ " + repeat(open, 100'000) + "1" + repeat(close, 100'000) + " }}"),
              expected);
  }
  EXPECT_EQ(render(repeat("{% if 1 %}", 40'000) + repeat("{% endif %}", 40'000)), expected);
  EXPECT_EQ(render("{% for " + repeat("(", 100'000) + "a" + repeat(")", 100'000) + " in x %}"),
            expected);
}

// Chains are built without recursion, but evaluated and destroyed with it.
TEST(JinjaLimits, LongChains) {
  const std::string expected = "error: line 1: an expression is nested more than 120 deep";
  for (const char* link :
       {" + 1", " * 1", " ** 1", " | abs", ".a", "[0]", "()", " is odd", " if 1"}) {
    EXPECT_EQ(render("{{ 1" + repeat(link, 50'000) + " }}"), expected) << link;
  }
  EXPECT_EQ(render("{{ ''" + repeat(" ~ 1", 50'000) + " }}"), repeat("1", 50'000));
  EXPECT_EQ(render("{{ 0" + repeat(" or 0", 50'000) + " }}"), "0");
  EXPECT_EQ(render("{% if 0 %}" + repeat("{% elif 0 %}", 50'000) + "{% endif %}"), "");
}

TEST(JinjaLimits, MacrosThatCallThemselves) {
  const std::string message = "evaluation is nested more than 500 deep";
  EXPECT_EQ(render("{% macro f() %}{{ f() }}{% endmacro %}\n{{ f() }}"),
            "error: line 1: " + message);
  EXPECT_EQ(render("{% macro f(g) %}{{ g(g) }}{% endmacro %}{{ f(f) }}"),
            "error: line 1: " + message);
  EXPECT_EQ(render("{% macro f(n) %}{% if n %}{{ f(n - 1) }}{% endif %}x{% endmacro %}{{ f(50) }}"),
            repeat("x", 51));
}

TEST(JinjaLimits, LoopIterations) {
  EXPECT_EQ(
      render("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"),
      "error: line 1: the template uses more than 1000000 loop iterations");
  EXPECT_EQ(render("{% for a in range(1000000) %}{% endfor %}"),
            "error: line 1: range() of more than 100000 numbers");
  EXPECT_EQ(render("{{ range(0, 9223372036854775807, 9223372036854775806) | list }}"),
            "[0, 9223372036854775806]");
}

TEST(JinjaLimits, Memory) {
  Limits limits;
  limits.memory_bytes = size_t{16} << 20;
  const std::string message = "error: line 1: the template uses more than 16777216 bytes of memory";
  for (const char* source : {
           "{{ 'a' * 10 ** 9 }}",
           "{{ 10 ** 18 * 'a' }}",
           "{{ [1, 2] * 10 ** 17 }}",
           "{{ ('a' * 10 ** 6) | replace('a', 'b' * 10 ** 6) }}",
           "{{ ('a' * 10 ** 6).replace('', 'b' * 10 ** 6) }}",
           "{{ ('x' * 100000) | list | join('b' * 10 ** 6) }}",
           "{{ ('b' * 10 ** 6).join('x' * 100000) }}",
           "{{ ('\\n' * 10 ** 6) | indent('b' * 10 ** 6, blank=true) }}",
           "{{ 'a'.center(10 ** 12) }}",
           "{{ [1] | batch(10 ** 12, 'x') | list }}",
           "{% set ns = namespace(s='a') %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s %}{% "
           "endfor %}",
           "{% set ns = namespace(s=[1]) %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% "
           "endfor %}",
       }) {
    EXPECT_EQ(render(source, limits), message) << source;
  }
}

// A value that names itself many times is small in memory and endless in print.
TEST(JinjaLimits, SharedValues) {
  const std::string build =
      "{% set ns = namespace(v=['x']) %}{% for i in range(60) %}{% set ns.v = [ns.v, ns.v] %}{% "
      "endfor %}";
  EXPECT_TRUE(
      render(build + "{{ ns.v }}").starts_with("error: line 1: the template uses more than"));
  EXPECT_TRUE(render(build + "{{ ns.v | tojson }}")
                  .starts_with("error: line 1: the template uses more than"));
  EXPECT_TRUE(render(build + "{% set a = ns.v %}" + build + "{{ a == ns.v }}")
                  .starts_with("error: line 1: the template uses more than"));
  EXPECT_TRUE(render("{% set ns = namespace() %}{% set ns.me = [ns] %}{{ ns }}")
                  .starts_with("error: line 1: a value that contains itself"));
  EXPECT_EQ(render("{% set ns = namespace(v=[]) %}{% for i in range(1000) %}{% set ns.v = [ns.v] "
                   "%}{% endfor %}"),
            "error: line 1: values are nested more than 100 deep");
}

TEST(JinjaLimits, Output) {
  Limits limits;
  limits.output_bytes = 100;
  EXPECT_EQ(render("{{ 'a' * 100 }}", limits), repeat("a", 100));
  EXPECT_EQ(render("{{ 'a' * 100 }}\n{{ 'b' }}", limits),
            "error: line 1: the text is longer than 100 bytes");
  EXPECT_EQ(render("{% set x %}{{ 'a' * 101 }}{% endset %}", limits),
            "error: line 1: the text is longer than 100 bytes");
}

TEST(JinjaLimits, Steps) {
  const std::string message =
      "error: line 1: the template uses more than 20000000 steps of evaluation";
  EXPECT_EQ(
      render("{% set s = 'a' * 10 ** 7 %}{% for i in range(10000) %}{{ 'b' in s }}{% endfor %}"),
      message);
  EXPECT_EQ(
      render("{% set s = 'a' * 10 ** 7 %}{% for i in range(10000) %}{{ s | length }}{% endfor %}"),
      message);
}

// Macros and frames hold each other; a leak would fail this under the address sanitizer.
TEST(JinjaLimits, CyclesAreFreed) {
  EXPECT_EQ(
      render("{% set ns = namespace() %}{% for i in range(3) %}{% macro m() %}{{ i }}{% endmacro %}"
             "{% set ns.m = m %}{% set ns.ns = ns %}{% endfor %}{{ ns.m() }}"),
      "2");
  // A chain of 50,000 frames, each the parent of the next.
  EXPECT_EQ(
      render("{% macro make() %}{% macro inner() %}{{ caller() }}{% endmacro %}{% set ns.f = inner "
             "%}{% endmacro %}"
             "{% set ns = namespace() %}{% for i in range(50000) %}{{ make() }}{% endfor %}done"),
      "done");
}

// Whatever text comes, an answer comes back.
TEST(JinjaErrors, EveryPrefixOfATemplateIsAnswered) {
  const std::string source =
      "{#- c -#}{% macro f(a, b=[1, {'k': 'v\\n'}]) -%}{{ a[::-1] | tojson(indent=2) }}{% endmacro "
      "%}"
      "{% for k, v in {'x': 1}.items() if v is not none %}{{ f(k ~ v)[1:] }}{% else %}{% raw "
      "%}{{{% endraw %}"
      "{% endfor %}{% set ns = namespace(x=1.5e3) %}{% set ns.x = -ns.x ** 2 // 3 %}{{ ns.x if not "
      "true else 'é' }}";
  for (size_t size = 0; size <= source.size(); ++size) {
    const std::string text = render(source.substr(0, size));
    EXPECT_TRUE(size < source.size() || !text.starts_with("error")) << text;
  }
}

TEST(JinjaLexer, LinesCountEveryKindOfBreak) {
  const auto tokens = tokenize("a\r\nb\rc\n{{ x }}");
  ASSERT_EQ(tokens.size(), 5U);
  EXPECT_EQ(tokens[0].text, "a\nb\nc\n");
  EXPECT_EQ(tokens[2].line, 4);
}

}  // namespace
}  // namespace tern::jinja
