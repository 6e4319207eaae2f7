#pragma once
// Options whose value is a number: every one of them has a range.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/number.h"

namespace tern::cli {

// A check that an option's text is a number in [low, high] (engine/base/number.h), without the bounds in the help text. An
// option without one would take what CLI11 takes: nan, inf, 0x10, and 010 as eight.
template <class T>
CLI::Validator in_range(T low, T high) {
  return CLI::Validator(
      [low, high](std::string& text) {
        const Result<T> number = parse_number(text, low, high);
        return number ? std::string() : number.error().message;
      },
      "");
}

// Numbers separated by commas, at least one. The error says which is none.
template <class T>
Result<std::vector<T>> parse_numbers(std::string_view text, T low, T high) {
  std::vector<T> numbers;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    const Result<T> number = parse_number(text.substr(begin, comma - begin), low, high);
    if (!number) {
      const bool alone = begin == 0 && comma == text.size();
      return alone ? number.error()
                   : Error{number.error().message + " (" + std::to_string(numbers.size() + 1) +
                           ". of the list)"};
    }
    numbers.push_back(*number);
    begin = comma + 1;
  }
  return numbers;
}

// An option that takes such a list, and may be given several times. CLI11's own lists leave out what is empty.
template <class T>
CLI::Option* add_numbers(CLI::App& app, const std::string& names, std::vector<T>& values, T low,
                         T high, const std::string& help) {
  const auto read = [&values, low, high, names](const CLI::results_t& texts) {
    values.clear();
    for (const std::string& text : texts) {
      Result<std::vector<T>> numbers = parse_numbers(text, low, high);
      if (!numbers) {
        throw CLI::ValidationError(names.substr(0, names.find(',')), numbers.error().message);
      }
      values.insert(values.end(), numbers->begin(), numbers->end());
    }
    return true;
  };
  std::string standing;
  for (const T value : values) {
    standing += (standing.empty() ? "" : ",") + std::to_string(value);
  }
  CLI::Option* option = app.add_option(names, read, help);
  option->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  option->type_name("N,...");
  return standing.empty() ? option : option->default_str(standing);
}

}  // namespace tern::cli
