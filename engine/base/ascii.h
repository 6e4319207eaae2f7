#pragma once
// Letters of ASCII without regard to case; all other bytes stay as they are.

#include <algorithm>
#include <string>
#include <string_view>

namespace tern {

constexpr char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

inline std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](char c) { return lower(c); });
  return out;
}

inline bool same_ignoring_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

inline bool begins_ignoring_case(std::string_view text, std::string_view with) {
  return same_ignoring_case(text.substr(0, with.size()), with);
}

}  // namespace tern
