#pragma once
// The architectures that Tern runs: one entry each (and one file a family), found by general.architecture.

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/model/config.h"
#include "engine/model/weights.h"
#include "engine/run/decoder.h"

namespace tern {

struct ArchSpec {
  std::string_view name;  // general.architecture
  // Sets what distinguishes the architecture: activation, norms, RoPE order. May add notices for files known to be wrong.
  Result<void> (*configure)(const TensorFile& file, ModelConfig& config,
                            std::vector<std::string>& notices);
};

// All architectures, and the one of that name (null if there is none).
std::span<const ArchSpec> all_architectures();
const ArchSpec* find_architecture(std::string_view name);

// Reads a model's configuration with its architecture's properties. Errors: an architecture that Tern does not run (the
// message lists those it does), a bad key.
Result<ModelConfig> read_config(const TensorFile& file, std::vector<std::string>& notices);

// Takes the tensors of a decoder of this configuration out of `weights`. Errors: a tensor is missing, has another shape, or
// is left over.
Result<DecoderWeights> bind_decoder(const ModelConfig& config, Weights& weights,
                                    HeadType head = HeadType::kAuto);

}  // namespace tern
