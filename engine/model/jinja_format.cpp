// Python's two ways of formatting, without their rare parts: "%-5.1f" and "{0:>8}" are here, nested
// fields are not.
#include <algorithm>
#include <cstdio>

#include "engine/model/jinja_text.h"
#include "engine/model/jinja_unicode.h"

namespace tern::jinja {
namespace {

struct Spec {
  std::string fill = " ";
  char align = 0;  // '<', '>', '^', '=' (pads behind the sign), or 0: numbers right, the rest left
  char sign = 0;   // '+' or ' '
  bool grouped = false;
  int width = 0;
  int precision = -1;
  char type = 0;  // 'd', 'f', 's', ... or 0: by the value
};

// Reads a count at text[at] and moves behind it.
int read_count(const std::string& text, size_t& at) {
  constexpr int kMax = 1000;  // keeps the padding within reason
  int count = 0;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
    count = count * 10 + (text[at++] - '0');
    if (count > kMax) {
      throw TemplateError{"a format's width or precision is above " + std::to_string(kMax)};
    }
  }
  return count;
}

std::string with_commas(std::string digits) {
  const size_t point = std::min(digits.find('.'), digits.size());
  for (size_t at = point; at > 3; at -= 3) {
    digits.insert(at - 3, ",");
  }
  return digits;
}

// Without its sign.
std::string print_integer(uint64_t value, char type) {
  const unsigned base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
  const std::string_view digits = type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
  std::string out;
  do {
    out.insert(out.begin(), digits[value % base]);
    value /= base;
  } while (value != 0);
  return out;
}

// Without its sign.
std::string print_real(double value, const Spec& spec) {
  const int precision = spec.precision < 0 ? 6 : spec.precision;
  char buffer[1400];  // 309 digits before the point, up to 1000 behind
  int length = 0;
  switch (spec.type) {
    case 'e':
      length = std::snprintf(buffer, sizeof(buffer), "%.*e", precision, value);
      break;
    case 'E':
      length = std::snprintf(buffer, sizeof(buffer), "%.*E", precision, value);
      break;
    case 'g':
    case 'G':
      length = std::snprintf(buffer, sizeof(buffer), "%.*g", precision, value);
      break;
    case '%':
      length = std::snprintf(buffer, sizeof(buffer), "%.*f%%", precision, 100 * value);
      break;
    default:
      length = std::snprintf(buffer, sizeof(buffer), "%.*f", precision, value);
  }
  return {buffer, static_cast<size_t>(length)};
}

// What `append` puts out, with its sign and padding. It has `size` characters.
template <class Append>
void pad(TextBuilder& out, const std::string& sign, size_t size, const Spec& spec, char align,
         const Append& append) {
  const size_t width = static_cast<size_t>(spec.width);
  const size_t missing = width > size + sign.size() ? width - size - sign.size() : 0;
  const size_t before = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  const MarkedText fill{spec.fill, {}};
  if (align == '=') {
    out.append(sign);
    out.repeat(fill, missing);
    append();
    return;
  }
  out.repeat(fill, before);
  out.append(sign);
  append();
  out.repeat(fill, missing - before);
}

void format_text(const Value& value, const Spec& spec, TextBuilder& out, Budget& budget) {
  TextBuilder builder(budget);
  if (spec.type == 'r') {
    append_repr(value, builder, budget);
  } else if (spec.type == 0 || spec.type == 's') {
    append_str(value, builder, budget);
  } else {
    throw TemplateError{"the format '" + std::string(1, spec.type) + "' needs a number, found a " +
                        std::string(value.type_name())};
  }
  const MarkedText text = builder.take();
  const size_t size = spec.precision < 0
                          ? text.size()
                          : byte_offset(text.bytes, static_cast<size_t>(spec.precision));
  const size_t chars = char_count(std::string_view(text.bytes).substr(0, size));
  pad(out, "", chars, spec, spec.align != 0 ? spec.align : '<', [&] { out.append(text, 0, size); });
}

void format_value(const Value& value, const Spec& spec, TextBuilder& out, Budget& budget) {
  budget.charge_steps(1 + static_cast<size_t>(spec.width + std::max(spec.precision, 0)) / 4);
  if (!value.is_number() || spec.type == 's' || spec.type == 'r') {
    format_text(value, spec, out, budget);
    return;
  }
  const bool as_integer =
      value.is_integral() &&
      (spec.type == 0 || std::string_view("dixXob").find(spec.type) != std::string_view::npos);
  const bool truncates = !value.is_integral() && (spec.type == 'd' || spec.type == 'i');
  const bool negative = value.is_integral() ? value.as_int() < 0 : value.as_real() < 0;
  std::string body;
  if (as_integer) {
    const auto bits = static_cast<uint64_t>(value.as_int());
    body = print_integer(negative ? 0 - bits : bits, spec.type);
  } else if (truncates) {
    Spec whole = spec;
    whole.precision = 0;
    body = print_real(
        static_cast<double>(static_cast<int64_t>(std::clamp(std::abs(value.as_real()), 0.0, 9e18))),
        whole);
  } else if (spec.type == 0 && spec.precision < 0) {
    body = real_to_text(std::abs(value.as_real()));
  } else {
    body = print_real(std::abs(value.as_real()), spec);
  }
  if (spec.grouped) {
    body = with_commas(std::move(body));
  }
  const std::string sign = negative ? "-" : spec.sign != 0 ? std::string(1, spec.sign) : "";
  pad(out, sign, char_count(body), spec, spec.align != 0 ? spec.align : '>',
      [&] { out.append(body); });
}

// "[[fill]align][sign][0][width][,][.precision][type]", as stands behind the colon in braces.
Spec parse_spec(const std::string& text) {
  constexpr std::string_view kAligns = "<>^=";
  Spec spec;
  size_t at = 0;
  const size_t first = text.empty() ? 0 : char_size(text, 0);
  if (first < text.size() && kAligns.find(text[first]) != std::string_view::npos) {
    spec.fill = text.substr(0, first);
    spec.align = text[first];
    at = first + 1;
  } else if (!text.empty() && kAligns.find(text[0]) != std::string_view::npos) {
    spec.align = text[at++];
  }
  if (at < text.size() && (text[at] == '+' || text[at] == ' ' || text[at] == '-')) {
    spec.sign = text[at] == '-' ? '\0' : text[at];
    ++at;
  }
  if (at < text.size() && text[at] == '0' && spec.align == 0) {
    spec.fill = "0";
    spec.align = '=';
    ++at;
  }
  spec.width = read_count(text, at);
  if (at < text.size() && text[at] == ',') {
    spec.grouped = true;
    ++at;
  }
  if (at < text.size() && text[at] == '.') {
    spec.precision = read_count(text, ++at);
  }
  if (at < text.size()) {
    spec.type = text[at++];
  }
  if (at != text.size() || (spec.type != 0 && std::string_view("sdfFeEgGxXob%").find(spec.type) ==
                                                  std::string_view::npos)) {
    throw TemplateError{"the format '" + text + "' is not supported"};
  }
  return spec;
}

}  // namespace

namespace {
// A format as messages show it.
std::string shown(const std::string& format) {
  constexpr size_t kLongest = 200;
  return format.size() <= kLongest ? format : format.substr(0, kLongest) + "...";
}

// "-5.1f" of "%-5.1f": flags, width, precision and type; moves behind them.
Spec parse_percent_spec(const std::string& format, size_t& at) {
  Spec spec;
  for (; at < format.size() && std::string_view("-+ 0#").find(format[at]) != std::string_view::npos;
       ++at) {
    spec.align = format[at] == '-' ? '<' : format[at] == '0' && spec.align == 0 ? '=' : spec.align;
    spec.sign = format[at] == '+' || format[at] == ' ' ? format[at] : spec.sign;
  }
  spec.fill = spec.align == '=' ? "0" : " ";
  spec.align = spec.align == 0 ? '>' : spec.align;
  spec.width = read_count(format, at);
  if (at < format.size() && format[at] == '.') {
    spec.precision = read_count(format, ++at);
  }
  if (at < format.size()) {
    spec.type = format[at++];
  }
  return spec;
}
}  // namespace

Value format_percent(const MarkedText& marked, const List& values, const Dict* named,
                     Budget& budget) {
  const std::string& format = marked.bytes;
  TextBuilder out(budget);
  size_t used = 0;
  for (size_t at = 0; at < format.size();) {
    if (format[at] != '%') {
      const size_t end = std::min(format.find('%', at), format.size());
      out.append(marked, at, end - at);
      at = end;
      continue;
    }
    ++at;
    if (at < format.size() && format[at] == '%') {
      out.append(marked, at++, 1);
      continue;
    }
    const Value* value = nullptr;
    if (named != nullptr && at < format.size() && format[at] == '(') {
      const size_t close = std::min(format.find(')', at), format.size());
      value = named->find(std::string_view(format).substr(at + 1, close - at - 1));
      at = std::min(close + 1, format.size());
      used = values.size();
    } else if (used < values.size()) {
      value = &values[used++];
    }
    const Spec spec = parse_percent_spec(format, at);
    if (spec.type == 0 || value == nullptr) {
      throw TemplateError{"the format '" + shown(format) + "' does not go with its " +
                          std::to_string(values.size()) + " values"};
    }
    if (std::string_view("srdifFeEgGxXo").find(spec.type) == std::string_view::npos) {
      throw TemplateError{"the format '" + shown(format) + "' is not supported"};
    }
    format_value(*value, spec, out, budget);
  }
  if (used < values.size() && named == nullptr) {
    throw TemplateError{"the format '" + shown(format) + "' does not use all of its " +
                        std::to_string(values.size()) + " values"};
  }
  return out.value();
}

Value format_braces(const MarkedText& marked, const List& values, const Dict& named,
                    Budget& budget) {
  const std::string& format = marked.bytes;
  TextBuilder out(budget);
  size_t next = 0;
  for (size_t at = 0; at < format.size();) {
    const char c = format[at];
    if ((c == '{' || c == '}') && at + 1 < format.size() && format[at + 1] == c) {
      out.append(marked, at, 1);
      at += 2;
      continue;
    }
    if (c != '{') {
      const size_t end = std::min(format.find_first_of("{}", at + 1), format.size());
      out.append(marked, at, end - at);
      at = end;
      continue;
    }
    const size_t close = format.find('}', at);
    if (close == std::string::npos) {
      throw TemplateError{"the format '" + shown(format) + "' has a brace that is not closed"};
    }
    std::string field = format.substr(at + 1, close - at - 1);
    at = close + 1;
    const size_t colon = std::min(field.find(':'), field.size());
    const Spec spec = parse_spec(colon < field.size() ? field.substr(colon + 1) : "");
    field.resize(colon);
    const Value* value = nullptr;
    if (field.find_first_not_of("0123456789") == std::string::npos) {
      size_t digits = 0;
      const size_t index = field.empty() ? next++ : static_cast<size_t>(read_count(field, digits));
      value = index < values.size() ? &values[index] : nullptr;
    } else {
      value = named.find(std::string_view(field));
    }
    if (value == nullptr) {
      throw TemplateError{"the format '" + shown(format) + "' has no value for '{" + shown(field) +
                          "}'"};
    }
    format_value(*value, spec, out, budget);
  }
  return out.value();
}

}  // namespace tern::jinja
