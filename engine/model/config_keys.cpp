#include "engine/model/config_keys.h"

#include <cmath>

namespace tern {

Result<int32_t> Keys::dimension(std::string_view name, int64_t fallback, int64_t largest) const {
  const std::string key = full(name);
  ASSIGN_OR_RETURN(const std::optional<int64_t> found, file_.get_int(key));
  const int64_t value = found.value_or(fallback);
  if (!found && fallback == 0) {
    return Error{"key " + key + ": expected a number, found no such key."};
  }
  if (value < 1 || value > largest) {
    return Error{"key " + key + ": expected 1 to " + std::to_string(largest) + ", found " +
                 std::to_string(value) + "."};
  }
  return static_cast<int32_t>(value);
}

Result<std::optional<float>> Keys::positive(std::string_view name) const {
  const std::string key = full(name);
  ASSIGN_OR_RETURN(const std::optional<double> found, file_.get_float(key));
  if (found && !(*found > 0 && std::isfinite(*found))) {
    return Error{"key " + key + ": expected a positive number, found " + std::to_string(*found) +
                 "."};
  }
  return found ? std::optional<float>(static_cast<float>(*found)) : std::nullopt;
}

Result<float> Keys::positive_or(std::string_view name, float fallback) const {
  ASSIGN_OR_RETURN(const std::optional<float> found, positive(name));
  return found.value_or(fallback);
}

Result<std::optional<std::string_view>> Keys::text(std::string_view name) const {
  return file_.get_string(full(name));
}

}  // namespace tern
