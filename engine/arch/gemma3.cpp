#include <cmath>

#include "engine/arch/families.h"
#include "engine/arch/windows.h"
#include "engine/model/config_keys.h"

namespace tern {

Result<void> configure_gemma3(const TensorFile& file, ModelConfig& config,
                              std::vector<std::string>& notices) {
  const Keys keys(file, config.architecture);
  ASSIGN_OR_RETURN(const std::optional<bool> causal, file.get_bool("gemma3.attention.causal"));
  if (!causal.value_or(true)) {
    return Error{
        "key gemma3.attention.causal: expected true, found false; Tern does not compute models "
        "whose tokens see those after them."};
  }
  if (keys.has("final_logit_softcapping") || keys.has("attn_logit_softcapping")) {
    return Error{"key gemma3.final_logit_softcapping: expected no caps on logits, found one."};
  }
  config.activation = Activation::kGelu;
  config.qk_norms = QkNorms::kBeforeRope;
  config.post_norms = true;
  config.embedding_scale = std::sqrt(static_cast<float>(config.width));
  // Every layer's queries are scaled by its head size, but for those of the 27B, which are scaled as if heads shared the width.
  constexpr int32_t kLayersOf27B = 62;
  if (config.layers == kLayersOf27B) {
    config.attention_scale = 1.0F / std::sqrt(static_cast<float>(config.width / config.heads));
  }
  ASSIGN_OR_RETURN(config.attention_scale,
                   keys.positive_or("attention.scale", config.attention_scale));
  ASSIGN_OR_RETURN(const float local_base, keys.positive_or("rope.freq_base_swa", 10000.0F));
  config.ropes[0].rotate_half = true;
  Rope local = config.ropes[0];
  local.magnitude = 1.0F;
  local.inverse_frequencies = rope_frequencies(local.dims, local_base);
  config.ropes.push_back(std::move(local));
  constexpr int32_t kPeriod = 6;  // five layers with a window, one without
  RETURN_IF_ERROR(read_windows(file, config, kPeriod));
  if (!keys.has("attention.sliding_window")) {
    // bitnet-embedding-270m is such a file; the program that it was published with computes it so.
    notices.push_back(
        "no key speaks of windows (gemma3.attention.sliding_window): every layer sees all tokens, "
        "with one RoPE base, although Gemma 3 itself has windows in five of six layers");
  }
  for (LayerConfig& layer : config.layer_configs) {
    layer.rope = layer.window > 0 ? 1 : 0;
  }
  return {};
}

}  // namespace tern
