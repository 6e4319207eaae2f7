#include "engine/arch/windows.h"

#include <variant>

#include "engine/model/config_keys.h"

namespace tern {

Result<void> read_windows(const TensorFile& file, ModelConfig& config, int32_t period) {
  const Keys keys(file, config.architecture);
  if (!keys.has("attention.sliding_window")) {
    return {};
  }
  ASSIGN_OR_RETURN(const int32_t window, keys.dimension("attention.sliding_window"));
  const std::string key = keys.full("attention.sliding_window_pattern");
  const auto found = file.metadata().find(key);
  const std::vector<bool>* flags = nullptr;
  if (found != file.metadata().end() && std::holds_alternative<MetaArray>(found->second)) {
    ASSIGN_OR_RETURN(flags, file.get_array<bool>(key));
    if (flags->size() != config.layer_configs.size()) {
      return Error{"key " + key + ": expected a flag for each of the " +
                   std::to_string(config.layers) + " layers, found " +
                   std::to_string(flags->size()) + "."};
    }
  }
  if (flags == nullptr) {
    ASSIGN_OR_RETURN(period, keys.dimension("attention.sliding_window_pattern", period));
  }
  for (size_t i = 0; i < config.layer_configs.size(); ++i) {
    const bool has_window =
        flags != nullptr ? (*flags)[i] : (static_cast<int32_t>(i) + 1) % period != 0;
    config.layer_configs[i].window = has_window ? window : 0;
  }
  return {};
}

}  // namespace tern
