#pragma once
// Numbers that come from outside as text: arguments, headers, fields of files. Decimal, finite, whole text or nothing.

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "engine/base/result.h"

namespace tern {

// The finite decimal number that the whole of `text` spells: no hexadecimal, nan, inf, blanks or unit, and not so large that a
// double cannot hold it. None: it is something else.
std::optional<double> number_of(std::string_view text);
// The same of whole numbers, without point and exponent.
std::optional<int64_t> whole_number_of(std::string_view text);
std::optional<uint64_t> unsigned_number_of(std::string_view text);

// Whether a number begins with 0 and goes on with a digit: 010 is eight to some readers and ten to others.
bool may_be_octal(std::string_view text);

// As a message writes a bound: 8, 0.001, 1e+09.
std::string bound_text(double bound);

namespace detail {

template <class T>
std::optional<T> as_number(std::string_view text, T low, T high) {
  if (may_be_octal(text)) {
    return {};
  }
  if constexpr (std::floating_point<T>) {
    const std::optional<double> number = number_of(text);
    // -0 is equal to 0, and yet divides to minus infinity: where there are no negative numbers it is none.
    const bool fits = number && *number >= low && *number <= high &&
                      !(low >= 0 && !text.empty() && text.front() == '-');
    return fits ? std::optional(static_cast<T>(*number)) : std::nullopt;
  } else if constexpr (std::signed_integral<T>) {
    const std::optional<int64_t> number = whole_number_of(text);
    const bool fits = number && *number >= low && *number <= high;
    return fits ? std::optional(static_cast<T>(*number)) : std::nullopt;
  } else {
    const std::optional<uint64_t> number = unsigned_number_of(text);
    const bool fits = number && *number >= low && *number <= high;
    return fits ? std::optional(static_cast<T>(*number)) : std::nullopt;
  }
}

template <class T>
std::string range_text(T low, T high) {
  if constexpr (std::floating_point<T>) {
    return "a number from " + bound_text(low) + " to " + bound_text(high);
  } else {
    return "a whole number from " + std::to_string(low) + " to " + std::to_string(high);
  }
}

}  // namespace detail

// The number in [low, high] that the whole of `text` spells. The error says the range and what was found.
template <class T>
Result<T> parse_number(std::string_view text, T low, T high) {
  if (const std::optional<T> number = detail::as_number(text, low, high)) {
    return *number;
  }
  return Error{"expected " + detail::range_text(low, high) + ", found " +
               (text.empty() ? "nothing" : std::string(text)) + "."};
}

}  // namespace tern
