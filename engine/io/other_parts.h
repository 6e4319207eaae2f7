#pragma once
// Tensors of models that also see, hear or speak, beside the text model: by their names.

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/io/tensor_file.h"

namespace tern {

// "a vision encoder", "an audio encoder", "a projector from another encoder", "a speech decoder": whose tensor a name is,
// in GGUF files (llama.cpp's v., a., mm.) and in folders of transformers (model.visual., audio_tower., ...); empty for
// those of a text model.
std::string_view other_part(std::string_view name);

// Names of tensors that text does not need, by part.
using OtherParts = std::map<std::string_view, std::vector<std::string>>;
// A line a part: "12 tensors of a vision encoder (v.blk.0.attn_q.weight, ...) are not in use: ..."
std::vector<std::string> notices_of(const OtherParts& parts);

// Refuses files of other kinds in the same container (projectors, adapters, importance matrices, vocabularies), by name.
Result<void> refuse_other_kinds(const TensorFile& file);

// Those of a file.
OtherParts other_parts_of(std::span<const Tensor> tensors);

}  // namespace tern
