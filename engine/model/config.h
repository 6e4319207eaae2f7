#pragma once
// What a model file says of its shape, under the field's own names.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/io/tensor_file.h"

namespace tern {

enum class Activation : uint8_t {
  kSilu,   // silu(gate) * up
  kRelu2,  // relu(gate)^2 * up
};

// RoPE angles: position * inverse_frequencies[i] for the i-th pair; cos and sin are multiplied by `magnitude` (YaRN).
struct Rope {
  int32_t dims = 0;          // leading values of a head that are rotated
  bool rotate_half = false;  // pairs (i, i + dims / 2), the NeoX order; else (2i, 2i + 1)
  float magnitude = 1.0F;
  std::vector<float> inverse_frequencies;  // dims / 2
};

struct ModelConfig {
  std::string architecture;
  std::string name;
  int32_t layers = 0;
  int32_t width = 0;     // embedding length
  int32_t ffn = 0;       // feed-forward length
  int32_t heads = 0;     // query heads
  int32_t kv_heads = 0;  // divides heads
  int32_t head_dim = 0;  // of queries, keys and values alike
  int32_t vocab = 0;     // rows of the token embedding
  int32_t context = 0;   // positions the model was trained for
  float norm_eps = 0;
  Activation activation = Activation::kSilu;
  bool sub_norms = false;  // norms before the output and the down projection (BitNet)
  bool qk_norms = false;   // norms of each query and key head before RoPE (Qwen3)
  Rope rope;

  int32_t q_width() const { return heads * head_dim; }
  int32_t kv_width() const { return kv_heads * head_dim; }
};

// Reads the keys "<architecture>.*" that all decoder-only models share, and the RoPE frequencies (linear, Llama 3 and YaRN
// scaling). Leaves the architecture's own properties (activation, norms, RoPE order) at their defaults.
// Errors: a key is missing, of the wrong type or out of range; a scaling that Tern does not know.
Result<ModelConfig> read_model_config(const TensorFile& file);

}  // namespace tern
