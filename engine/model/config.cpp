#include "engine/model/config.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <optional>

#include "engine/model/config_keys.h"

namespace tern {
namespace {

constexpr int64_t kLargestDimension = Keys::kLargestDimension;
constexpr int64_t kMostLayers = 4096;

}  // namespace

std::vector<float> rope_frequencies(int32_t dims, float base) {
  std::vector<float> inverse(static_cast<size_t>(dims / 2));
  for (size_t i = 0; i < inverse.size(); ++i) {
    inverse[i] = static_cast<float>(std::pow(
        static_cast<double>(base), -2.0 * static_cast<double>(i) / static_cast<double>(dims)));
  }
  return inverse;
}

namespace {

// YaRN ("YaRN: Efficient Context Window Extension", arXiv 2309.00071, section 3.4): slow pairs are interpolated by the
// factor, fast pairs stay, a linear ramp lies between; attention is sharpened by a factor on cos and sin.
void apply_yarn(Rope& rope, float base, float factor, float original_context, float beta_fast,
                float beta_slow) {
  const double dims = rope.dims;
  const auto pair_of_rotations = [&](double rotations) {
    return dims * std::log(original_context / (rotations * 2.0 * std::numbers::pi)) /
           (2.0 * std::log(base));
  };
  const double low = std::max(0.0, std::floor(pair_of_rotations(beta_fast)));
  const double high = std::min(dims - 1.0, std::ceil(pair_of_rotations(beta_slow)));
  for (size_t i = 0; i < rope.inverse_frequencies.size(); ++i) {
    const double ramp =
        std::clamp((static_cast<double>(i) - low) / std::max(0.001, high - low), 0.0, 1.0);
    const double frequency = rope.inverse_frequencies[i];
    rope.inverse_frequencies[i] =
        static_cast<float>(frequency / factor * ramp + frequency * (1.0 - ramp));
  }
  rope.magnitude = 1.0F + 0.1F * std::log(factor);
}

// Llama 3.x and LongRoPE files carry their scaling as one divisor per pair.
Result<void> apply_frequency_factors(const TensorFile& file, const std::string& name, Rope& rope) {
  const Tensor* factors = file.find(name);
  if (factors == nullptr) {
    return {};
  }
  const size_t pairs = rope.inverse_frequencies.size();
  if (factors->format->name != "F32" || factors->count() != static_cast<int64_t>(pairs)) {
    return Error{"tensor " + name + ": expected " + std::to_string(pairs) + " F32, found " +
                 std::to_string(factors->count()) + " " + std::string(factors->format->name) + "."};
  }
  for (size_t i = 0; i < pairs; ++i) {
    float factor = 0;
    std::memcpy(&factor, factors->data.data() + i * sizeof factor, sizeof factor);
    if (!(factor > 0)) {
      return Error{"tensor " + name + ": expected positive numbers, found " +
                   std::to_string(factor) + " at " + std::to_string(i) + "."};
    }
    rope.inverse_frequencies[i] /= factor;
  }
  return {};
}

// LongRoPE (arXiv 2402.13753): one set of divisors up to the context that the model was first trained for, another beyond it, and
// attention sharpened as far as the whole context goes beyond that. Tern serves the first: the context ends there, as a
// conversation cannot change divisors on its way.
Result<void> apply_long_rope(const TensorFile& file, const Keys& keys, ModelConfig& config) {
  Rope& rope = config.ropes[0];
  ASSIGN_OR_RETURN(const int32_t original,
                   keys.dimension("rope.scaling.original_context_length", config.context));
  const double beyond = static_cast<double>(config.context) / original;
  const double sharpened =
      beyond > 1 ? std::sqrt(1 + std::log(beyond) / std::log(static_cast<double>(original))) : 1;
  ASSIGN_OR_RETURN(rope.magnitude,
                   keys.positive_or("rope.scaling.attn_factor", static_cast<float>(sharpened)));
  config.context = std::min(config.context, original);
  return apply_frequency_factors(file, "rope_factors_short.weight", rope);
}

Result<void> read_rope(const TensorFile& file, const Keys& keys, ModelConfig& config) {
  Rope& rope = config.ropes.emplace_back();
  // Files whose layers without a window do not rotate may have 0 here and the number under another name.
  ASSIGN_OR_RETURN(const std::optional<int64_t> given_dims,
                   file.get_int(keys.full("rope.dimension_count")));
  const bool only_windows = given_dims == 0 && keys.has("rope.dimension_count_swa");
  const char* dims_key = only_windows ? "rope.dimension_count_swa" : "rope.dimension_count";
  ASSIGN_OR_RETURN(rope.dims, keys.dimension(dims_key, config.head_dim));
  if (rope.dims > config.head_dim || rope.dims % 2 != 0) {
    return Error{"key " + keys.full("rope.dimension_count") +
                 ": expected an even number up to the head size " +
                 std::to_string(config.head_dim) + ", found " + std::to_string(rope.dims) + "."};
  }
  ASSIGN_OR_RETURN(const std::optional<float> given_base, keys.positive("rope.freq_base"));
  const float base = given_base.value_or(10000.0F);
  rope.inverse_frequencies = rope_frequencies(rope.dims, base);

  ASSIGN_OR_RETURN(const std::optional<std::string_view> type, keys.text("rope.scaling.type"));
  ASSIGN_OR_RETURN(std::optional<float> given_factor, keys.positive("rope.scaling.factor"));
  if (!given_factor) {  // the name in files of 2023, which llama.cpp reads too
    ASSIGN_OR_RETURN(given_factor, keys.positive("rope.scale_linear"));
  }
  const float factor = given_factor.value_or(1.0F);
  const std::string_view kind = type.value_or(given_factor ? "linear" : "none");
  const bool long_factors = file.find("rope_factors_short.weight") != nullptr;
  if (long_factors && (kind == "longrope" || kind == "none")) {
    RETURN_IF_ERROR(apply_long_rope(file, keys, config));
  } else if (kind == "linear") {
    for (float& frequency : rope.inverse_frequencies) {
      frequency /= factor;
    }
  } else if (kind == "yarn") {
    ASSIGN_OR_RETURN(const int32_t original,
                     keys.dimension("rope.scaling.original_context_length", config.context));
    ASSIGN_OR_RETURN(const std::optional<float> fast, keys.positive("rope.scaling.yarn_beta_fast"));
    ASSIGN_OR_RETURN(const std::optional<float> slow, keys.positive("rope.scaling.yarn_beta_slow"));
    apply_yarn(rope, base, factor, static_cast<float>(original), fast.value_or(32.0F),
               slow.value_or(1.0F));
  } else if (kind != "none") {
    return Error{"key " + keys.full("rope.scaling.type") +
                 ": expected none, linear, yarn, or longrope with its factors, found " +
                 std::string(kind) + "; the model would be run wrongly."};
  }
  return apply_frequency_factors(file, "rope_freqs.weight", rope);
}

}  // namespace

Result<ModelConfig> read_model_config(const TensorFile& file) {
  ModelConfig config;
  ASSIGN_OR_RETURN(const std::optional<std::string_view> architecture,
                   file.get_string("general.architecture"));
  if (!architecture) {
    return Error{"key general.architecture: expected the model's architecture, found no such key."};
  }
  config.architecture = std::string(*architecture);
  ASSIGN_OR_RETURN(const std::optional<std::string_view> name, file.get_string("general.name"));
  config.name = std::string(name.value_or(""));

  const Keys keys(file, config.architecture);
  ASSIGN_OR_RETURN(config.layers, keys.dimension("block_count", 0, kMostLayers));
  ASSIGN_OR_RETURN(config.width, keys.dimension("embedding_length"));
  ASSIGN_OR_RETURN(config.ffn, keys.dimension("feed_forward_length"));
  ASSIGN_OR_RETURN(config.heads, keys.dimension("attention.head_count"));
  ASSIGN_OR_RETURN(config.kv_heads, keys.dimension("attention.head_count_kv", config.heads));
  ASSIGN_OR_RETURN(config.head_dim,
                   keys.dimension("attention.key_length", config.width / config.heads));
  ASSIGN_OR_RETURN(const int32_t value_dim,
                   keys.dimension("attention.value_length", config.head_dim));
  ASSIGN_OR_RETURN(config.context, keys.dimension("context_length"));
  if (config.heads % config.kv_heads != 0) {
    return Error{"key " + keys.full("attention.head_count_kv") + ": expected a divisor of the " +
                 std::to_string(config.heads) + " query heads, found " +
                 std::to_string(config.kv_heads) + "."};
  }
  if (int64_t{config.heads} * config.head_dim > kLargestDimension) {
    return Error{"key " + keys.full("attention.head_count") + ": expected at most " +
                 std::to_string(kLargestDimension) + " values in all heads, found " +
                 std::to_string(config.heads) + " heads of " + std::to_string(config.head_dim) +
                 "."};
  }
  if (value_dim != config.head_dim) {
    return Error{"key " + keys.full("attention.value_length") + ": expected the key length " +
                 std::to_string(config.head_dim) + ", found " + std::to_string(value_dim) + "."};
  }
  ASSIGN_OR_RETURN(std::optional<float> eps, keys.positive("attention.layer_norm_rms_epsilon"));
  if (!eps) {
    ASSIGN_OR_RETURN(eps, keys.positive("attention.layer_norm_epsilon"));
  }
  if (!eps) {
    return Error{"key " + keys.full("attention.layer_norm_rms_epsilon") +
                 ": expected a number, found no such key."};
  }
  config.norm_eps = *eps;

  const Tensor* embedding = file.find("token_embd.weight");
  if (embedding == nullptr) {
    return Error{"tensor token_embd.weight: expected the token embedding, found no such tensor."};
  }
  if (embedding->rows() > kLargestDimension) {
    return Error{"tensor token_embd.weight: expected at most " + std::to_string(kLargestDimension) +
                 " rows, found " + std::to_string(embedding->rows()) + "."};
  }
  config.vocab = static_cast<int32_t>(embedding->rows());
  config.attention_scale = 1.0F / std::sqrt(static_cast<float>(config.head_dim));
  config.layer_configs.resize(static_cast<size_t>(config.layers));
  RETURN_IF_ERROR(read_rope(file, keys, config));
  return config;
}

}  // namespace tern
