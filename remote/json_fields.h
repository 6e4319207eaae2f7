#pragma once
// Reading JSON that may hold anything: what is absent, or of another type than expected, counts as not said.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace tern {

// The member of that name; null if there is none, or if this is no object.
inline const nlohmann::json& member(const nlohmann::json& object, const char* name) {
  static const nlohmann::json kNull;
  if (!object.is_object()) {
    return kNull;
  }
  const auto found = object.find(name);
  return found == object.end() ? kNull : *found;
}

// A string member; empty if it is none.
inline std::string text_at(const nlohmann::json& object, const char* name) {
  const nlohmann::json& value = member(object, name);
  return value.is_string() ? value.get<std::string>() : std::string();
}

// A number, or a string that spells one.
std::optional<double> number_in(const nlohmann::json& value);

// A count from 0 to 2^31 - 1; none: anything else.
std::optional<int32_t> count_at(const nlohmann::json& object, const char* name);

}  // namespace tern
