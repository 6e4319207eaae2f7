#pragma once
// Random programs of the template language: syntactically right, otherwise anything, with a taste
// for large values, deep loops and every built-in.

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace tern::testing {

class JinjaPrograms {
 public:
  explicit JinjaPrograms(uint64_t seed) : random_(seed) {}

  std::string next() {
    macros_ = 0;
    std::string out =
        "{% set ns = namespace(v='x', w=[1]) %}{% set d = {'a': 1, 'b': [2, 'c']} %}"
        "{% set s = 'abc <b>' %}{% set l = [3, 'b', [1, 2]] %}";
    for (size_t i = 2 + below(4); i > 0; --i) {
      out += statement(4);
    }
    return out;
  }

 private:
  size_t below(size_t bound) { return random_() % bound; }

  template <size_t kCount>
  std::string pick(const std::string_view (&choices)[kCount]) {
    return std::string(choices[below(kCount)]);
  }

  std::string block(int depth) {
    std::string out;
    for (size_t i = 1 + below(3); i > 0; --i) {
      out += statement(depth - 1);
    }
    return out;
  }

  std::string loop(int depth) {
    const bool recursive = below(4) == 0;
    std::string out = "{% for " + std::string(below(8) == 0 ? "s, l" : pick(kTargets)) + " in " +
                      (below(2) == 0 ? "range(" + pick(kCounts) + ")" : expression(depth - 1));
    out += below(6) == 0 ? " if " + expression(1) : "";
    out += std::string(recursive ? " recursive" : "") + " %}" + block(depth);
    out += recursive ? "{{ loop(" + expression(1) + ") }}" : "";
    return out + (below(5) == 0 ? "{% else %}" + block(1) : "") + "{% endfor %}";
  }

  std::string macro(int depth) {
    const std::string name = "m" + std::to_string(macros_++ % 3);
    return "{% macro " + name + "(a, b=" + expression(1) + ") %}" + block(depth) +
           (below(3) == 0 ? "{{ varargs }}{{ kwargs }}" : "") +
           (below(3) == 0 ? "{% set ns.v = " + name + " %}" : "") + "{% endmacro %}";
  }

  std::string statement(int depth) {
    if (depth <= 0) {
      return "{{ " + expression(2) + " }}";
    }
    switch (below(12)) {
      case 0:
      case 1:
      case 2:
        return loop(depth);
      case 3:
        return "{% if " + expression(2) + " %}" + block(depth) + "{% else %}" + block(1) +
               "{% endif %}";
      case 4:
        return macro(depth);
      case 5:
        return "{% call m" + std::to_string(below(3)) + "(" + arguments(1) + ") %}" + block(depth) +
               "{% endcall %}";
      case 6:
        return "{% filter " + filter(1) + " %}" + block(depth) + "{% endfilter %}";
      case 7:
        return "{% set " + pick(kTargets) + " %}" + block(depth) + "{% endset %}";
      case 8:
        return "{% with " + pick(kTargets) + " = " + expression(2) + " %}" + block(depth) +
               "{% endwith %}";
      case 9:
        return "{% set ns." + std::string(below(2) == 0 ? "v" : "w") + " = " + expression(3) +
               " %}";
      case 10:
        return "{% set " + pick(kTargets) + " = " + expression(3) + " %}";
      default:
        return "{{ " + expression(3) + " }}";
    }
  }

  std::string arguments(int depth) {
    std::string out;
    for (size_t i = below(4); i > 0; --i) {
      out += (out.empty() ? "" : ", ") + expression(depth);
    }
    if (below(6) == 0) {
      out += std::string(out.empty() ? "" : ", ") + "*" + expression(1);
    }
    if (below(6) == 0) {
      out += std::string(out.empty() ? "" : ", ") + "**" + expression(1);
    }
    return out;
  }

  std::string filter(int depth) { return pick(kFilters) + "(" + arguments(depth) + ")"; }

  std::string expression(int depth) {
    if (depth <= 0) {
      return pick(kAtoms);
    }
    switch (below(14)) {
      case 0:
        return expression(depth - 1) + pick(kOperators) + expression(depth - 1);
      case 1:
      case 2:
      case 3:
        return expression(depth - 1) + "|" + filter(depth - 1);
      case 4:
      case 5:
      case 6:
        return "(" + expression(depth - 1) + ")." + pick(kMethods) + "(" + arguments(depth - 1) +
               ")";
      case 7:
        return "(" + expression(depth - 1) + ")[" + expression(0) + ":" + expression(0) +
               (below(2) == 0 ? "" : ":" + expression(0)) + "]";
      case 8:
        return "[" + expression(depth - 1) + ", " + expression(depth - 1) + "]";
      case 9:
        return "{" + expression(0) + ": " + expression(depth - 1) + "}";
      case 10:
        return "(" + expression(depth - 1) + " is " + pick(kTests) + ")";
      case 11:
        return pick(kFunctions) + "(" + arguments(depth - 1) + ")";
      case 12:
        return "(" + pick(kLarge) + ")";
      default:
        return pick(kAtoms);
    }
  }

  static constexpr std::string_view kTargets[] = {"s", "l", "d", "x", "y"};
  static constexpr std::string_view kCounts[] = {"3", "10", "1000", "100000"};
  static constexpr std::string_view kAtoms[] = {
      "s",  "l",   "d",    "x",    "ns.v",  "ns.w",  "ns",     "1",     "0",           "-1",
      "7",  "'a'", "''",   "'\n'", "'a b'", "loop",  "none",   "true",  "1.5",         "10**9",
      "[]", "{}",  "'%s'", "'{}'", "'<'",   "'a.b'", "caller", "2**62", "'nan'|float", "messages"};
  static constexpr std::string_view kLarge[] = {
      "'a'*1000000",        "'ab'*20000000",        "[0]*1000000",       "'\\n'*10000000",
      "range(100000)",      "range(100000)|list",   "'\\x01'*5000000",   "ns.v ~ ns.v",
      "ns.w + ns.w",        "[ns.w, ns.w]",         "(s ~ ' ')*100000",  "'a'*10**15",
      "'a'*30000000 ~ 'b'", "dict(a=ns.w, b=ns.v)", "'\xC3\x9F'*3000000"};
  static constexpr std::string_view kOperators[] = {" + ", " * ",  " ~ ",  " - ",  " % ",  " in ",
                                                    " < ", " == ", " or ", " ** ", " // ", " and "};
  static constexpr std::string_view kTests[] = {
      "defined", "string", "in l",    "in s",     "odd",      "upper", "sameas(x)",
      "mapping", "number", "lt('b')", "iterable", "callable", "in d"};
  static constexpr std::string_view kFunctions[] = {
      "range", "dict",       "namespace",    "loop",         "m0",    "m1",
      "m2",    "loop.cycle", "loop.changed", "strftime_now", "caller"};
  static constexpr std::string_view kFilters[] = {
      "abs",      "attr",   "batch",  "capitalize", "center",     "count",   "default",
      "dictsort", "escape", "first",  "float",      "format",     "groupby", "indent",
      "int",      "items",  "join",   "last",       "length",     "list",    "lower",
      "map",      "max",    "min",    "reject",     "rejectattr", "replace", "reverse",
      "round",    "safe",   "select", "selectattr", "slice",      "sort",    "string",
      "sum",      "title",  "tojson", "trim",       "truncate",   "unique",  "upper",
      "wordcount"};
  static constexpr std::string_view kMethods[] = {
      "strip",     "lstrip",     "rstrip",     "split",    "rsplit",       "splitlines",
      "partition", "rpartition", "startswith", "endswith", "removeprefix", "removesuffix",
      "find",      "rfind",      "index",      "count",    "replace",      "join",
      "format",    "upper",      "lower",      "title",    "capitalize",   "ljust",
      "rjust",     "center",     "zfill",      "isalpha",  "isspace",      "isupper",
      "items",     "keys",       "values",     "get",      "copy"};

  std::mt19937_64 random_;
  int macros_ = 0;
};

}  // namespace tern::testing
