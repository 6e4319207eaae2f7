#include <optional>
#include <string>

#include "engine/arch/families.h"

namespace tern {
namespace {

// The key's number, from 1 to `largest`.
Result<int32_t> number(const TensorFile& file, const std::string& key, int64_t largest,
                       std::optional<int64_t> fallback = std::nullopt) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> found, file.get_int(key));
  const std::optional<int64_t> value = found ? found : fallback;
  if (!value || *value < 1 || *value > largest) {
    return Error{"key " + key + ": expected 1 to " + std::to_string(largest) + ", found " +
                 (value ? std::to_string(*value) : "no such key") + "."};
  }
  return static_cast<int32_t>(*value);
}

// Files may list the recurrent layers; Tern runs those where every so many layers one is attention.
Result<void> check_pattern(const TensorFile& file, const ModelConfig& config) {
  const std::string key = config.architecture + ".attention.recurrent_layers";
  ASSIGN_OR_RETURN(const std::vector<bool>* listed, file.get_array<bool>(key));
  for (int32_t i = 0; listed != nullptr && i < config.layers; ++i) {
    const auto index = static_cast<size_t>(i);
    if (index >= listed->size() || (*listed)[index] != config.recurrent(i)) {
      return Error{"key " + key + ": expected attention in every " +
                   std::to_string(config.delta_net.interval) +
                   "th layer and recurrence in all others, found another order at layer " +
                   std::to_string(i) + "."};
    }
  }
  return {};
}

// The layers behind the others that predict further tokens.
Result<void> leave_out_predictors(const TensorFile& file, ModelConfig& config,
                                  std::vector<std::string>& notices) {
  const std::string key = config.architecture + ".nextn_predict_layers";
  ASSIGN_OR_RETURN(const std::optional<int64_t> found, file.get_int(key));
  const int64_t count = found.value_or(0);
  if (count < 0 || count >= config.layers) {
    return Error{"key " + key + ": expected fewer than the " + std::to_string(config.layers) +
                 " layers, found " + std::to_string(count) + "."};
  }
  if (count > 0) {
    config.layers -= static_cast<int32_t>(count);
    config.layer_configs.resize(static_cast<size_t>(config.layers));
    config.unused_layers = static_cast<int32_t>(count);
    notices.push_back("the layers that predict further tokens (" + std::to_string(count) +
                      " in the file) are not used");
  }
  return {};
}

}  // namespace

Result<void> configure_qwen35(const TensorFile& file, ModelConfig& config,
                              std::vector<std::string>& notices) {
  const std::string prefix = config.architecture + ".";
  constexpr int64_t kMostHeads = 4096;
  constexpr int64_t kLongestConvolution = 64;
  config.qk_norms = QkNorms::kBeforeRope;
  config.gated_attention = true;
  config.ropes[0].rotate_half = true;
  RETURN_IF_ERROR(leave_out_predictors(file, config, notices));

  DeltaNet& delta = config.delta_net;
  ASSIGN_OR_RETURN(delta.interval,
                   number(file, prefix + "full_attention_interval", config.layers + 1, 4));
  ASSIGN_OR_RETURN(delta.key_heads, number(file, prefix + "ssm.group_count", kMostHeads));
  ASSIGN_OR_RETURN(delta.value_heads, number(file, prefix + "ssm.time_step_rank", kMostHeads));
  ASSIGN_OR_RETURN(delta.state, number(file, prefix + "ssm.state_size", DeltaNet::kLargestState));
  ASSIGN_OR_RETURN(delta.conv, number(file, prefix + "ssm.conv_kernel", kLongestConvolution));
  ASSIGN_OR_RETURN(const int32_t inner,
                   number(file, prefix + "ssm.inner_size", kMostHeads * DeltaNet::kLargestState));
  if (delta.value_heads % delta.key_heads != 0) {
    return Error{"key " + prefix + "ssm.time_step_rank: expected a multiple of the " +
                 std::to_string(delta.key_heads) + " key heads, found " +
                 std::to_string(delta.value_heads) + "."};
  }
  if (inner != delta.values()) {
    return Error{"key " + prefix + "ssm.inner_size: expected " + std::to_string(delta.value_heads) +
                 " heads of " + std::to_string(delta.state) + ", found " + std::to_string(inner) +
                 " values."};
  }
  delta.layers = config.layers - config.layers / delta.interval;
  // Containers that keep the heads of values in the order of their key heads say so.
  ASSIGN_OR_RETURN(const std::optional<bool> grouped,
                   file.get_bool("tern.delta_net.grouped_values"));
  delta.grouped = grouped.value_or(false);
  return check_pattern(file, config);
}

}  // namespace tern
