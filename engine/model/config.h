#pragma once
// What a model file says of its shape, under the field's own names.

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/io/tensor_file.h"
#include "engine/model/factored.h"
#include "engine/model/rotation.h"

namespace tern {

enum class Activation : uint8_t {
  kSilu,   // silu(gate) * up
  kRelu2,  // relu(gate)^2 * up
  kGelu,   // gelu(gate) * up, by the tanh formula
};

enum class NormKind : uint8_t {
  kRms,    // x / rms(x) * weight
  kLayer,  // the same of x less its mean
};

// Where norms of query and key heads stand.
enum class QkNorms : uint8_t { kNone, kBeforeRope, kAfterRope };

// How the inputs of ternary matrices are rounded.
enum class Activations : uint8_t {
  kInt8,   // to one int8 row a token, as BitNet models were trained
  kInt16,  // to two, the second of what the first lost: nearly as exact as floats, for models that were trained with those
  kF32,    // not at all: slow, to compare with
};
inline constexpr const char* kActivationsNames[] = {"int8", "int16", "f32"};
// int8 rows a token.
constexpr int32_t planes_of(Activations activations) {
  return activations == Activations::kInt16 ? 2 : 1;
}

// RoPE angles: position * inverse_frequencies[i] for the i-th pair; cos and sin are multiplied by `magnitude` (YaRN).
struct Rope {
  int32_t dims = 0;          // leading values of a head that are rotated
  bool rotate_half = false;  // pairs (i, i + dims / 2), the NeoX order; else (2i, 2i + 1)
  float magnitude = 1.0F;
  std::vector<float> inverse_frequencies = {};  // dims / 2
  // As GGUF files of the architecture order rows, which those of this file may not.
  bool gguf_rotate_half = false;
};

// What distinguishes one layer's attention from another's.
struct LayerConfig {
  static constexpr int32_t kNoRope = -1;

  int32_t window = 0;  // positions that a token sees, its own included; 0: all before it
  int32_t rope = 0;    // index into ModelConfig::ropes, or kNoRope
};

// Layers that keep a recurrent state instead of keys and values: the gated delta rule of Qwen3.5 (engine/run/delta_net.h).
struct DeltaNet {
  static constexpr int32_t kLargestState = 256;

  int32_t layers = 0;       // how many there are; 0: all layers are attention
  int32_t interval = 0;     // every so many layers one is attention
  int32_t key_heads = 0;    // of queries and of keys
  int32_t value_heads = 0;  // a multiple of key_heads
  int32_t state = 0;        // size of a head
  int32_t conv = 0;         // inputs that the convolution before it weighs
  bool grouped =
      false;  // value head h reads key head h / (value_heads / key_heads); else h % key_heads
  bool grouped_output = false;  // the columns of the output projection are in grouped order anyway

  int32_t keys() const { return key_heads * state; }
  int32_t values() const { return value_heads * state; }
  int32_t channels() const { return 2 * keys() + values(); }
};

// Feed-forward layers that are mixtures of experts.
struct Experts {
  int32_t count = 0;  // 0: plain feed-forward layers
  int32_t used = 0;   // by each token
  int32_t ffn = 0;
  float clamp = 0;  // bound of the activations: gate from above, up from both sides; 0: none
};

struct ModelConfig {
  std::string architecture;
  std::string name;
  int32_t layers = 0;
  int32_t unused_layers = 0;  // of the file, behind the others
  int32_t width = 0;          // embedding length
  int32_t ffn = 0;            // feed-forward length
  int32_t heads = 0;          // query heads
  int32_t kv_heads = 0;       // divides heads
  int32_t head_dim = 0;       // of queries, keys and values alike
  int32_t vocab = 0;          // rows of the token embedding
  int32_t context = 0;        // positions the model was trained for
  float norm_eps = 0;
  Activation activation = Activation::kSilu;
  NormKind norm = NormKind::kRms;
  bool sub_norms = false;  // norms before the output and the down projection (BitNet)
  bool post_norms =
      false;  // norms of what attention and feed-forward add to the residual stream (Gemma)
  bool input_norms = false;  // a norm of its own before every projection (bitnet-embedding)
  bool embeds = false;       // made for embeddings: how it predicts text says nothing
  bool parallel =
      false;  // attention and feed-forward read one norm, and are added together (Cohere)
  QkNorms qk_norms = QkNorms::kNone;
  bool gated_attention = false;  // attn_q yields a query and a gate for each head (Qwen3.5)
  Activations activations = Activations::kInt8;
  float embedding_scale = 1.0F;  // of token embeddings
  float residual_scale = 1.0F;   // of what each block adds to the residual stream
  float logit_scale = 1.0F;
  float attention_scale = 0;               // of products q . k
  std::vector<Rope> ropes;                 // those that layers choose from
  std::vector<LayerConfig> layer_configs;  // of each layer
  DeltaNet delta_net;
  Experts experts;
  Rotations rotations;
  FactorShape factors;

  // Values of a head that any of the ropes rotates.
  int32_t most_rope_dims() const {
    int32_t most = 0;
    for (const Rope& rope : ropes) {
      most = std::max(most, rope.dims);
    }
    return most;
  }

  bool recurrent(int32_t layer) const {
    return delta_net.layers > 0 && (layer + 1) % delta_net.interval != 0;
  }
  int32_t attention_layers() const { return layers - delta_net.layers; }
  // Which of the layers of its kind a layer is.
  int32_t slot(int32_t layer) const {
    const int32_t attention_before = delta_net.layers > 0 ? layer / delta_net.interval : layer;
    return recurrent(layer) ? layer - attention_before : attention_before;
  }

  int32_t q_width() const { return heads * head_dim; }
  int32_t kv_width() const { return kv_heads * head_dim; }
};

// base^(-2 i / dims) of the i-th pair.
std::vector<float> rope_frequencies(int32_t dims, float base);

// Reads the keys "<architecture>.*" that all decoder-only models share, and the RoPE frequencies (linear, Llama 3, YaRN
// and LongRoPE scaling) of one RoPE for all layers. Leaves the architecture's own properties (activation, norms, RoPE order, windows) at
// their defaults. Errors: a key is missing, of the wrong type or out of range; a scaling that Tern does not know.
Result<ModelConfig> read_model_config(const TensorFile& file);

}  // namespace tern
