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
Value input(Call call) {
  return call.interpreter.text(call.self);
}

// The method of strings of the same name, upon the input as text.
Value by_method(Call call, std::string_view name) {
  Arguments given;
  for (const auto& argument : call.args) {
    if (argument) {
      given.positional.push_back(*argument);
    }
  }
  const Value self = input(call);
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
    call.budget().charge_bytes(call.arg(1).is_string() ? call.text(1).size() : 0);
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
    call.budget().charge_bytes(pair.items()[0].as_string().size());
    call.budget().charge_bytes(pair.items()[1].as_string().size());
    style.item_separator = pair.items()[0].as_string();
    style.key_separator = pair.items()[1].as_string();
  }
  TextBuilder out(call.budget());
  append_json(call.self, style, out, call.budget());
  return out.value();
}

Value fallback(Call call) {
  const bool missing = call.self.is_undefined() || (call.truth(1, false) && !call.self.truthy());
  return !missing ? call.self : call.has(0) ? call.arg(0) : Value::string("");
}

// Each line after the first is put `width` blanks (or by the text `width`) to the right.
Value indent(Call call) {
  constexpr int64_t kMaxWidth = 1000;
  if (!call.self.is_string()) {
    throw TemplateError{call.self.is_undefined() ? call.self.undefined_message()
                                                 : "indent needs a string, found a " +
                                                       std::string(call.self.type_name())};
  }
  const Value lead =
      call.has(0) && call.arg(0).is_string()
          ? call.arg(0)
          : Value::string(std::string(
                static_cast<size_t>(std::clamp(call.integer(0, 4), int64_t{0}, kMaxWidth)), ' '));
  const MarkedText& in = call.self.as_text();
  TextBuilder out(call.budget());
  if (call.truth(1, false)) {
    out.append(lead.as_text());
  }
  size_t lines = 0;
  const auto add = [&](size_t begin, size_t end) {
    if (lines++ > 0) {
      out.append('\n');
      if (begin < end || call.truth(2, false)) {
        out.append(lead.as_text());
      }
    }
    out.append(in, begin, end - begin);
    call.budget().charge_steps(1);
  };
  // As Jinja, which adds a line break to the text: an empty line at the end is one more line.
  size_t last_end = 0;
  split_lines(in.bytes, true, [&](size_t begin, size_t end) {
    const std::string_view line = std::string_view(in.bytes).substr(begin, end - begin);
    last_end = end;
    size_t whole = end;
    split_lines(line, false, [&](size_t, size_t text_end) { whole = begin + text_end; });
    add(begin, whole);
    last_end = whole == end ? std::string::npos : end;  // npos: the last line has no break
  });
  if (last_end != std::string::npos) {
    add(in.size(), in.size());
  }
  return out.value();
}

// The text of a number without white space and plus sign.
std::string_view digits_of(std::string_view text) {
  std::string_view digits = text.substr(0, trimmed_right(text));
  digits.remove_prefix(trimmed_left(digits));
  digits.remove_prefix(digits.starts_with('+') ? 1 : 0);
  return digits;
}

std::optional<double> parse_real(std::string_view digits) {
  double value = 0;
  const char* end = digits.data() + digits.size();
  const auto parsed = std::from_chars(digits.data(), end, value);
  return parsed.ec == std::errc() && parsed.ptr == end ? std::optional(value) : std::nullopt;
}

std::optional<int64_t> parse_integer(std::string_view digits, int base) {
  const std::string_view prefix = base == 16 ? "0x" : base == 8 ? "0o" : base == 2 ? "0b" : "";
  digits.remove_prefix(digits.starts_with(prefix) ? prefix.size() : 0);
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
    const std::string_view digits = digits_of(call.self.as_string());
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
  const Value printed = format_percent({"%." + std::to_string(digits) + "f", {}},
                                       {Value::real(value)}, nullptr, call.budget());
  return Value::real(std::strtod(printed.as_string().c_str(), nullptr));
}

std::string_view escaped(char c) {
  switch (c) {
    case '&':
      return "&amp;";
    case '<':
      return "&lt;";
    case '>':
      return "&gt;";
    case '"':
      return "&#34;";
    case '\'':
      return "&#39;";
    default:
      return {};
  }
}

Value escape(Call call) {
  const Value in = input(call);
  TextBuilder out(call.budget());
  for (size_t at = 0; at < in.as_string().size(); ++at) {
    if (const std::string_view how = escaped(in.as_string()[at]); !how.empty()) {
      out.append(how, in.as_text().is_untrusted(at));
    } else {
      out.append(in.as_text(), at, 1);
    }
  }
  return out.value();
}

// Words begin behind white space, brackets and hyphens: unlike str.title(), "it's" keeps its small
// s.
Value title(Call call) {
  const Value in = input(call);
  const std::string& text = in.as_string();
  const bool untrusted = !in.as_text().untrusted.empty();
  TextBuilder out(call.budget());
  size_t word = 0;
  for (size_t at = 0; at <= text.size(); ++at) {
    if (at == text.size() ||
        std::string_view(" \t\n\r\v\f-([{<").find(text[at]) != std::string_view::npos) {
      call.budget().charge_bytes(at - word);
      out.append(capitalized(std::string_view(text).substr(word, at - word)), untrusted);
      out.append(std::string_view(text).substr(at, 1), untrusted);
      word = at + 1;
    }
  }
  return out.value();
}

Value format(Call call) {
  Dict named;
  for (const auto& [name, value] : call.rest.keywords) {
    call.budget().charge_bytes(4 * sizeof(Value) + sizeof(MarkedText) + name.size());
    call.budget().charge_steps(1);
    named.set(name, value);
  }
  return format_percent(input(call).as_text(), call.rest.positional,
                        named.empty() ? nullptr : &named, call.budget());
}

// Runs of letters, digits and underscores.
Value wordcount(Call call) {
  const Value text = input(call);
  const std::string& in = text.as_string();
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

// At most `length` characters, the last word left out unless `killwords`, and then `end`.
Value truncate(Call call) {
  const Value in = input(call);
  const std::string& text = in.as_string();
  const int64_t length = call.integer(0, 255);
  const MarkedText end = call.has(2) ? call.arg(2).as_text() : MarkedText{"...", {}};
  call.has(2) ? call.text(2) : text;  // must be a string
  const int64_t leeway = call.has(3) && !call.arg(3).is_none() ? call.integer(3) : 5;
  const auto end_size = static_cast<int64_t>(char_count(end.bytes));
  if (length < end_size || leeway < 0) {
    throw TemplateError{"truncate: expected a length of at least " + std::to_string(end_size) +
                        " and a leeway of at least 0"};
  }
  const auto size = static_cast<int64_t>(char_count(text));
  if (size <= length || size - length <= leeway) {
    return in;
  }
  size_t cut = byte_offset(text, static_cast<size_t>(length - end_size));
  if (!call.truth(1, false)) {
    const size_t space = std::string_view(text).substr(0, cut).rfind(' ');
    cut = space != std::string_view::npos ? space : cut;
  }
  TextBuilder out(call.budget());
  out.append(in.as_text(), 0, cut);
  out.append(end);
  return out.value();
}

const Builtin kFilters[] = {
    {"abs", "", absolute},
    {"attr", "name", [](Call call) { return call.interpreter.attribute(call.self, call.text(0)); }},
    {"capitalize", "", [](Call call) { return by_method(call, "capitalize"); }},
    {"center", "width?",
     [](Call call) {
       const Value self = input(call);
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
    {"safe", "", input},
    {"string", "", input},
    {"title", "", title},
    {"tojson", "ensure_ascii? indent? separators? sort_keys?", tojson},
    {"trim", "chars?", [](Call call) { return by_method(call, "strip"); }},
    {"truncate", "length? killwords? end? leeway?", truncate},
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
