#pragma once
// Matrices of experts. A GGUF file has one tensor for all experts of a layer (columns x rows x experts, "blk.0.ffn_up_exps.weight").
// Folders may have a tensor for each, which lie anywhere; these are called "blk.0.ffn_up_exps.7.weight", and what stands beside one
// alone "blk.0.ffn_up_exps.7.scale".

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/io/tensor_file.h"

namespace tern {

struct ExpertName {
  std::string matrix;  // as the tensor of all experts would be called
  int64_t index = 0;
};
// Nothing if it is not the name of one expert's weights.
std::optional<ExpertName> parse_expert_name(std::string_view name);

// The name of one expert's weights.
std::string expert_name(std::string_view matrix, int64_t index);

// The experts of a matrix that has a tensor for each, numbered from 0 without a gap.
std::vector<const Tensor*> separate_experts(const TensorFile& file, std::string_view matrix);

}  // namespace tern
