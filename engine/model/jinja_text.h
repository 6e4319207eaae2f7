#pragma once
// Values as text: what {{ }} prints, JSON, and the two ways of formatting.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model/jinja_value.h"

namespace tern::jinja {

// Python's str() and repr().
void append_str(const Value& value, TextBuilder& out, Budget& budget);
void append_repr(const Value& value, TextBuilder& out, Budget& budget);
std::string real_to_text(double value);  // 1.0, 1e-07, inf

struct JsonStyle {
  std::optional<std::string> indent;  // one level's white space; none: all in one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
  bool ensure_ascii = false;
};
// json.dumps. An undefined value or a function is an error, as there.
void append_json(const Value& value, const JsonStyle& style, TextBuilder& out, Budget& budget);

// "%s and %05.1f" % values
Value format_percent(const MarkedText& format, const List& values, const Dict* named,
                     Budget& budget);
// "{} and {name:>5}".format(...)
Value format_braces(const MarkedText& format, const List& values, const Dict& named,
                    Budget& budget);

// Where `what` stands in `text`, in time that is linear in both whatever they are; npos if nowhere.
size_t find_text(std::string_view text, std::string_view what, size_t from = 0);

// The last place, for one text after the other: the table of `what` is made once.
class LastFinder {
 public:
  LastFinder(std::string_view what, Budget& budget);
  size_t find(std::string_view text) const;

 private:
  std::string_view what_;
  std::vector<uint32_t> borders_;  // Knuth, Morris and Pratt's, of the reversed text
};

}  // namespace tern::jinja
