// The filters of Jinja that work on texts, numbers and single values, with tojson as Hugging Face
// replaces it.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>

#include "engine/model/jinja_builtins.h"
#include "engine/model/jinja_text.h"
#include "engine/model/jinja_unicode.h"

namespace tern::jinja {
namespace {

using Call = const BuiltinCall&;

// The input as text: most text filters take any value.
std::string input(Call call) {
  return call.interpreter.text(call.self);
}

Value text(Call call, std::string out) {
  return call.budget().string(std::move(out));
}

// The method of strings of the same name, upon the input as text.
Value by_method(Call call, std::string_view name) {
  Arguments given;
  for (const auto& argument : call.args) {
    if (argument) {
      given.positional.push_back(*argument);
    }
  }
  const Value self = text(call, input(call));
  return call.interpreter.call(Value::method(find_method(self, name), self), std::move(given));
}

Value items_of(Call call) {
  return call.interpreter.sequence_of(call.self);
}

Value length(Call call) {
  const Value& self = call.self;
  if (self.is_string()) {
    return Value::integer(static_cast<int64_t>(char_count(self.as_string())));
  }
  if (!self.is_list() && !self.is_dict() && !self.is_undefined()) {
    throw TemplateError{"a " + std::string(self.type_name()) + " has no length"};
  }
  return Value::integer(
      static_cast<int64_t>(self.is_dict() ? self.as_dict().size() : items_of(call).items().size()));
}

Value tojson(Call call) {
  JsonStyle style;
  style.ensure_ascii = call.truth(0, false);
  style.sort_keys = call.truth(3, false);
  if (call.has(1) && !call.arg(1).is_none()) {
    constexpr int64_t kMaxIndent = 100;
    style.indent =
        call.arg(1).is_string()
            ? call.text(1)
            : std::string(static_cast<size_t>(std::clamp(call.integer(1), int64_t{0}, kMaxIndent)),
                          ' ');
    style.item_separator = ",";
  }
  if (call.has(2) && !call.arg(2).is_none()) {
    const Value pair = call.interpreter.sequence_of(call.arg(2));
    if (pair.items().size() != 2 || !pair.items()[0].is_string() || !pair.items()[1].is_string()) {
      throw TemplateError{"tojson: separators must be two strings"};
    }
    style.item_separator = pair.items()[0].as_string();
    style.key_separator = pair.items()[1].as_string();
  }
  std::string out;
  append_json(call.self, style, out, call.budget());
  return text(call, std::move(out));
}

Value fallback(Call call) {
  const bool missing = call.self.is_undefined() || (call.truth(1, false) && !call.self.truthy());
  return !missing ? call.self : call.has(0) ? call.arg(0) : Value::string("");
}

// Each line after the first is put `width` blanks (or by the text `width`) to the right.
Value indent(Call call) {
  constexpr int64_t kMaxWidth = 1000;
  const std::string lead =
      call.has(0) && call.arg(0).is_string()
          ? call.text(0)
          : std::string(static_cast<size_t>(std::clamp(call.integer(0, 4), int64_t{0}, kMaxWidth)),
                        ' ');
  if (!call.self.is_string()) {
    throw TemplateError{call.self.is_undefined() ? call.self.undefined_message()
                                                 : "indent needs a string, found a " +
                                                       std::string(call.self.type_name())};
  }
  const std::string in = call.self.as_string() + "\n";
  std::string out = call.truth(1, false) ? lead : "";
  const std::vector<std::string_view> lines = split_lines(in, false);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) {
      call.budget().charge_bytes(lead.size());
      out += '\n';
      out += lines[i].empty() && !call.truth(2, false) ? "" : lead;
    }
    out += lines[i];
  }
  return text(call, std::move(out));
}

// The text of a number without white space and plus sign.
std::string digits_of(const std::string& text) {
  std::string digits = text.substr(0, trimmed_right(text));
  digits.erase(0, trimmed_left(digits));
  digits.erase(0, digits.starts_with('+') ? 1 : 0);
  return digits;
}

std::optional<double> parse_real(const std::string& digits) {
  double value = 0;
  const char* end = digits.data() + digits.size();
  const auto parsed = std::from_chars(digits.data(), end, value);
  return parsed.ec == std::errc() && parsed.ptr == end ? std::optional(value) : std::nullopt;
}

std::optional<int64_t> parse_integer(std::string digits, int base) {
  const std::string_view prefix = base == 16 ? "0x" : base == 8 ? "0o" : base == 2 ? "0b" : "";
  digits.erase(0, digits.starts_with(prefix) ? prefix.size() : 0);
  int64_t value = 0;
  const char* end = digits.data() + digits.size();
  const auto parsed = std::from_chars(digits.data(), end, value, base);
  return parsed.ec == std::errc() && parsed.ptr == end ? std::optional(value) : std::nullopt;
}

void require_defined(const Value& value) {
  if (value.is_undefined()) {
    throw TemplateError{value.undefined_message()};
  }
}

Value to_int(Call call) {
  const Value missing = call.has(0) ? call.arg(0) : Value::integer(0);
  require_defined(call.self);
  std::optional<double> real;
  if (call.self.is_integral()) {
    return Value::integer(call.self.as_int());
  }
  if (call.self.is_string()) {
    const std::string digits = digits_of(call.self.as_string());
    const int64_t base = std::clamp<int64_t>(call.integer(1, 10), 2, 36);
    if (const auto value = parse_integer(digits, static_cast<int>(base))) {
      return Value::integer(*value);
    }
    real = parse_real(digits);
  } else if (call.self.is_number()) {
    real = call.self.as_real();
  }
  return real && std::abs(*real) < 9e18 ? Value::integer(static_cast<int64_t>(*real)) : missing;
}

Value to_float(Call call) {
  require_defined(call.self);
  if (call.self.is_number()) {
    return Value::real(call.self.as_real());
  }
  const auto value =
      call.self.is_string() ? parse_real(digits_of(call.self.as_string())) : std::nullopt;
  return value ? Value::real(*value) : call.has(0) ? call.arg(0) : Value::real(0);
}

Value absolute(Call call) {
  if (call.self.is_integral()) {
    return call.self.as_int() < 0 ? arithmetic("-", Value::integer(0), call.self, call.budget())
                                  : Value::integer(call.self.as_int());
  }
  if (!call.self.is_number()) {
    throw TemplateError{call.self.is_undefined() ? call.self.undefined_message()
                                                 : "abs needs a number"};
  }
  return Value::real(std::abs(call.self.as_real()));
}

Value round(Call call) {
  if (!call.self.is_number()) {
    throw TemplateError{call.self.is_undefined() ? call.self.undefined_message()
                                                 : "round needs a number"};
  }
  const int64_t digits = std::clamp(call.integer(0, 0), int64_t{-300}, int64_t{300});
  const std::string how = call.has(1) ? call.text(1) : "common";
  const double value = call.self.as_real();
  const double power = std::pow(10.0, static_cast<double>(digits));
  if (how == "ceil" || how == "floor") {
    return Value::real((how == "ceil" ? std::ceil(value * power) : std::floor(value * power)) /
                       power);
  }
  if (how != "common") {
    throw TemplateError{"round: the method must be common, ceil or floor"};
  }
  if (call.self.is_integral() && digits >= 0) {
    return Value::integer(call.self.as_int());
  }
  if (digits < 0) {
    return Value::real(std::nearbyint(value * power) / power);
  }
  return Value::real(std::strtod(format_percent("%." + std::to_string(digits) + "f",
                                                {Value::real(value)}, nullptr, call.budget())
                                     .c_str(),
                                 nullptr));
}

Value escape(Call call) {
  std::string out;
  for (const char c : input(call)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return text(call, std::move(out));
}

// Words begin behind white space, brackets and hyphens: unlike str.title(), "it's" keeps its small
// s.
Value title(Call call) {
  const std::string in = input(call);
  std::string out;
  size_t word = 0;
  for (size_t at = 0; at <= in.size(); ++at) {
    if (at == in.size() ||
        std::string_view(" \t\n\r\v\f-([{<").find(in[at]) != std::string_view::npos) {
      out += capitalized(std::string_view(in).substr(word, at - word));
      out += at < in.size() ? std::string(1, in[at]) : "";
      word = at + 1;
    }
  }
  return text(call, std::move(out));
}

Value format(Call call) {
  Dict named;
  for (const auto& [name, value] : call.rest.keywords) {
    named.set(name, value);
  }
  return text(call, format_percent(input(call), call.rest.positional,
                                   named.empty() ? nullptr : &named, call.budget()));
}

// Runs of letters, digits and underscores.
Value wordcount(Call call) {
  const std::string in = input(call);
  int64_t words = 0;
  bool inside = false;
  for (size_t at = 0; at < in.size(); at += char_size(in, at)) {
    const uint32_t code = code_point(in, at);
    const bool part = is_alpha(code) || is_digit(code) || code == '_';
    words += part && !inside ? 1 : 0;
    inside = part;
  }
  return Value::integer(words);
}

const Builtin kFilters[] = {
    {"abs", "", absolute},
    {"attr", "name", [](Call call) { return call.interpreter.attribute(call.self, call.text(0)); }},
    {"capitalize", "", [](Call call) { return by_method(call, "capitalize"); }},
    {"center", "width?",
     [](Call call) {
       const Value self = text(call, input(call));
       const Value width = Value::integer(call.integer(0, 80));
       return call.interpreter.call(Value::method(find_method(self, "center"), self),
                                    Arguments{{width}, {}});
     }},
    {"count", "", length},
    {"d", "default_value? boolean?", fallback},
    {"default", "default_value? boolean?", fallback},
    {"e", "", escape},
    {"escape", "", escape},
    {"float", "default?", to_float},
    {"forceescape", "", escape},
    {"format", "...", format},
    {"indent", "width? first? blank?", indent},
    {"int", "default? base?", to_int},
    {"length", "", length},
    {"lower", "", [](Call call) { return by_method(call, "lower"); }},
    {"replace", "old new count?", [](Call call) { return by_method(call, "replace"); }},
    {"round", "precision? method?", round},
    {"safe", "", [](Call call) { return text(call, input(call)); }},
    {"string", "", [](Call call) { return text(call, input(call)); }},
    {"title", "", title},
    {"tojson", "ensure_ascii? indent? separators? sort_keys?", tojson},
    {"trim", "chars?", [](Call call) { return by_method(call, "strip"); }},
    {"upper", "", [](Call call) { return by_method(call, "upper"); }},
    {"wordcount", "", wordcount},
};

}  // namespace

const Builtin* find_filter(std::string_view name) {
  const auto* found = std::find_if(std::begin(kFilters), std::end(kFilters),
                                   [&](const Builtin& filter) { return filter.name == name; });
  return found != std::end(kFilters) ? found : find_list_filter(name);
}

}  // namespace tern::jinja
