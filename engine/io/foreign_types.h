#pragma once
// Tensor types that Tern does not read: what they are, who writes them, what to do instead.
//
// Several programs have given one type id to formats that have nothing to do with each other. What a file holds then shows
// in the room that it leaves for each tensor, so the sizes of all tensors of the id decide between the candidates.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/io/weight_format.h"

namespace tern {

// A tensor as the file's index describes it, before its type is known.
struct StoredTensor {
  std::string name;
  int64_t rows = 0;
  int64_t cols = 0;
  uint64_t span = 0;  // bytes up to the next tensor, or to the end of the file
  uint64_t alignment = 32;
};

// Whether a tensor of so many bytes leaves exactly this span, padded to the alignment or (the last of a file) not.
bool fills_span(const StoredTensor& tensor, uint64_t bytes);

// Whether the id also stands for formats that Tern does not read.
bool is_foreign_type(uint32_t ggml_type);
// The fewest bytes that a tensor of this id takes in the formats that Tern does not read; 0: none is known, or none has this shape.
uint64_t least_foreign_bytes(uint32_t ggml_type, int64_t rows, int64_t cols);
// The formats that Tern does not read, go by the id of `format` and take as many bytes for every one of these tensors, as a person
// would name them: no size can tell them apart from it.
std::vector<std::string> foreign_twins(const WeightFormat& format,
                                       std::span<const StoredTensor> tensors);
// Why tensors of this type id (all of the file, at least one) cannot be read. `tried`: Tern's own formats of the id, none of which
// fits their sizes.
Error foreign_type_error(uint32_t ggml_type, std::span<const StoredTensor> tensors,
                         std::span<const WeightFormat* const> tried);

}  // namespace tern
