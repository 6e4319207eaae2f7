#include "engine/base/number.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <system_error>

namespace tern {
namespace {

template <class T>
std::optional<T> parsed(std::string_view text) {
  // People write +5, which from_chars does not know; +-5 stays an error.
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') {
    text.remove_prefix(1);
  }
  T number{};
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return !text.empty() && error == std::errc() && stop == end ? std::optional(number)
                                                              : std::nullopt;
}

}  // namespace

std::optional<double> number_of(std::string_view text) {
  const std::optional<double> number = parsed<double>(text);
  return number && std::isfinite(*number) ? number : std::nullopt;
}

std::optional<int64_t> whole_number_of(std::string_view text) {
  return parsed<int64_t>(text);
}

std::optional<uint64_t> unsigned_number_of(std::string_view text) {
  return parsed<uint64_t>(text);
}

bool may_be_octal(std::string_view text) {
  const std::string_view digits =
      text.substr(text.starts_with('-') || text.starts_with('+') ? 1 : 0);
  return digits.size() > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9';
}

std::string bound_text(double bound) {
  char text[32];
  std::snprintf(text, sizeof text, "%.10g", bound);
  return text;
}

}  // namespace tern
