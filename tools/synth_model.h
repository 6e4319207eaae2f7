#pragma once
// Models of real shapes with random weights: to measure speed, memory and loading without a download.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "engine/base/result.h"
#include "engine/io/weight_format.h"
#include "engine/model/config.h"

namespace tern::cli {

// Layers that keep a recurrent state (DeltaNet of engine/model/config.h).
struct SynthHybrid {
  int32_t key_heads = 0;  // 0: all layers are attention
  int32_t value_heads = 0;
  int32_t state = 0;
  int32_t conv = 0;
  int32_t interval = 0;

  int32_t values() const { return value_heads * state; }
  int32_t channels() const { return 2 * key_heads * state + values(); }
  bool recurrent(int32_t layer) const { return key_heads > 0 && (layer + 1) % interval != 0; }
};

struct SynthMixture {
  int32_t experts = 0;  // 0: plain feed-forward layers
  int32_t used = 0;
};

// What decides the sizes of a model's tensors, and the keys with which it runs.
struct SynthShape {
  std::string name;
  std::string architecture;
  int32_t layers = 0;
  int32_t width = 0;
  int32_t ffn = 0;
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t vocab = 0;
  int32_t context = 0;
  float rope_base = 0;
  float norm_eps = 0;
  bool tied = false;      // the head is the token embedding
  int32_t rope_dims = 0;  // 0: the whole head
  int32_t window = 0;     // of the layers that have one
  SynthHybrid hybrid = {};
  SynthMixture mixture = {};
  bool input_norms = false;  // a norm of its own before every projection
  int32_t rotation = 0;      // block of Bonsai 2's rotation of inputs; 0: none
  // Whether formats with a scale for each block have different ones: not in models trained with one scale a matrix.
  bool block_scales = false;
};

std::span<const SynthShape> synth_shapes();
const SynthShape* find_synth_shape(std::string_view name);  // null if there is none
// The shape of a model that was read from a file. RoPE's base does not influence speed; the usual one is taken.
SynthShape shape_of(const ModelConfig& config, bool tied);

struct SynthOptions {
  SynthShape shape;
  const WeightFormat* linear = nullptr;     // of all matrices in the layers
  const WeightFormat* embedding = nullptr;  // of the token embedding
  const WeightFormat* head = nullptr;       // of the head, where it is not tied
  uint64_t seed = 1;  // the same seed gives the same file, whatever the threads
  int threads = 1;
  bool replace = true;                          // a file that exists
  std::function<bool(double done)> keep_going;  // 0 to 1; false stops
};

// Whether it writes tensors of a format.
bool synth_writes(const WeightFormat& format);

// Writes such a model: all tensors and keys of its architecture, and a byte-level tokenizer of the vocabulary's size that
// encodes any text. Weights are scaled so that activations keep their size and that logits have a standard deviation of 1/4:
// perplexity is about the size of the vocabulary. Takes a few MB of memory, whatever the size of the file.
// Errors: a type whose blocks do not divide the rows, a vocabulary too small for the bytes, a full disk, keep_going said no;
// then there is no file. Returns the size of the file.
Result<uint64_t> write_synth_model(const std::filesystem::path& path, const SynthOptions& options);

}  // namespace tern::cli
