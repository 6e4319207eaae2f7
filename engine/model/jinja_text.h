#pragma once
// Values as text: what {{ }} prints, JSON, and the two ways of formatting.

#include <optional>
#include <string>

#include "engine/model/jinja_value.h"

namespace tern::jinja {

// Python's str() and repr().
void append_str(const Value& value, std::string& out, Budget& budget);
void append_repr(const Value& value, std::string& out, Budget& budget);
std::string real_to_text(double value);  // 1.0, 1e-07, inf

struct JsonStyle {
  std::optional<std::string> indent;  // one level's white space; none: all in one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
  bool ensure_ascii = false;
};
// json.dumps. An undefined value or a function is an error, as there.
void append_json(const Value& value, const JsonStyle& style, std::string& out, Budget& budget);

// "%s and %05.1f" % values
std::string format_percent(const std::string& format, const List& values, const Dict* named,
                           Budget& budget);
// "{} and {name:>5}".format(...)
std::string format_braces(const std::string& format, const List& values, const Dict& named,
                          Budget& budget);

}  // namespace tern::jinja
