// Architectures whose feed-forward layers are mixtures of experts.

#include <algorithm>

#include "engine/arch/families.h"
#include "engine/arch/windows.h"
#include "engine/model/config_keys.h"

namespace tern {
namespace {

Result<void> read_experts(const TensorFile& file, ModelConfig& config) {
  const Keys keys(file, config.architecture);
  constexpr int64_t kMostExperts = 65536;
  Experts& experts = config.experts;
  ASSIGN_OR_RETURN(experts.count, keys.dimension("expert_count", 0, kMostExperts));
  ASSIGN_OR_RETURN(experts.used, keys.dimension("expert_used_count", 0, experts.count));
  ASSIGN_OR_RETURN(experts.ffn, keys.dimension("expert_feed_forward_length"));
  config.ffn = experts.ffn;  // no layer has another
  constexpr int64_t kSoftmax = 1;
  ASSIGN_OR_RETURN(const std::optional<int64_t> gating,
                   file.get_int(keys.full("expert_gating_func")));
  if (gating.value_or(kSoftmax) != kSoftmax) {
    return Error{"key " + keys.full("expert_gating_func") + ": expected 1 (softmax), found " +
                 std::to_string(*gating) + "."};
  }
  ASSIGN_OR_RETURN(const std::optional<bool> normalised,
                   file.get_bool(keys.full("expert_weights_norm")));
  if (!normalised.value_or(true)) {
    return Error{"key " + keys.full("expert_weights_norm") + ": expected true, found false."};
  }
  for (const char* other : {"expert_shared_count", "leading_dense_block_count"}) {
    ASSIGN_OR_RETURN(const std::optional<int64_t> found, file.get_int(keys.full(other)));
    if (found.value_or(0) != 0) {
      return Error{"key " + keys.full(other) + ": expected 0, found " + std::to_string(*found) +
                   "."};
    }
  }
  return {};
}

// The bound of the activations, one for all layers; 7 in files from before the key.
Result<float> read_clamp(const TensorFile& file, const ModelConfig& config) {
  const std::string key = config.architecture + ".swiglu_clamp_exp";
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end()) {
    return 7.0F;
  }
  ASSIGN_OR_RETURN(const std::vector<double>* bounds, file.get_array<double>(key));
  if (bounds->empty() || !(bounds->front() > 0) ||
      std::ranges::any_of(*bounds, [&](double bound) { return bound != bounds->front(); })) {
    return Error{"key " + key + ": expected one positive bound for all layers, found others."};
  }
  return static_cast<float>(bounds->front());
}

}  // namespace

Result<void> configure_qwen3moe(const TensorFile& file, ModelConfig& config,
                                std::vector<std::string>&) {
  config.qk_norms = QkNorms::kBeforeRope;
  config.ropes[0].rotate_half = true;
  return read_experts(file, config);
}

Result<void> configure_maple(const TensorFile& file, ModelConfig& config,
                             std::vector<std::string>&) {
  config.qk_norms = QkNorms::kBeforeRope;
  RETURN_IF_ERROR(read_experts(file, config));
  ASSIGN_OR_RETURN(config.experts.clamp, read_clamp(file, config));
  constexpr int32_t kPeriod = 4;  // three layers with a window, one without
  RETURN_IF_ERROR(read_windows(file, config, kPeriod));
  const Keys keys(file, config.architecture);
  if (!keys.has("attention.sliding_window")) {
    return Error{"key " + keys.full("attention.sliding_window") +
                 ": expected the window of this model, found no such key."};
  }
  Rope& rope = config.ropes[0];
  rope.rotate_half = true;
  if (keys.has("rope.freq_base_swa")) {
    ASSIGN_OR_RETURN(const float base, keys.positive_or("rope.freq_base_swa", 10000.0F));
    rope.inverse_frequencies = rope_frequencies(rope.dims, base);
  }
  // Layers that see everything do not rotate.
  for (LayerConfig& layer : config.layer_configs) {
    layer.rope = layer.window > 0 ? 0 : LayerConfig::kNoRope;
  }
  return {};
}

}  // namespace tern
