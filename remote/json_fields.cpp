#include "remote/json_fields.h"

#include <limits>

#include "engine/base/number.h"

namespace tern {

std::optional<double> number_in(const nlohmann::json& value) {
  if (value.is_number()) {
    return value.get<double>();
  }
  if (!value.is_string()) {
    return {};
  }
  return number_of(value.get_ref<const std::string&>());
}

std::optional<int32_t> count_at(const nlohmann::json& object, const char* name) {
  const nlohmann::json& value = member(object, name);
  if (!value.is_number()) {
    return {};
  }
  const auto number = value.get<double>();
  constexpr double kMost = std::numeric_limits<int32_t>::max();
  return number >= 0 && number <= kMost ? std::optional(static_cast<int32_t>(number))
                                        : std::nullopt;
}

}  // namespace tern
