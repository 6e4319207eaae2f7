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
  bool tied = false;  // the head is the token embedding
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
  std::function<bool(double done)> keep_going;  // 0 to 1; false stops
};

// Writes such a model: all tensors and keys of its architecture, and a byte-level tokenizer of the vocabulary's size that
// encodes any text. Weights are scaled so that activations keep their size and that logits have a standard deviation of 1/4:
// perplexity is about the size of the vocabulary. Takes a few MB of memory, whatever the size of the file.
// Errors: a type whose blocks do not divide the rows, a vocabulary too small for the bytes, a full disk, keep_going said no;
// then there is no file.
Result<void> write_synth_model(const std::filesystem::path& path, const SynthOptions& options);

}  // namespace tern::cli
