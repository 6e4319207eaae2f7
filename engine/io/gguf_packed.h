#pragma once
// What a GGUF file says about matrices that lie in the kernels' own layouts, and the checks of it:
//
//   tern.packed.version   how all of it is to be understood
//   tern.packed.PACKING   rows and columns of the tile in which the tensors of that packing's type id lie
//   tern.packed.bitnet    whether the weights came in a format made for BitNet models (WeightFormat::bitnet)
//   NAME.scales           F32, the scales of the matrix NAME: {1}, or columns x rows of a grid
//   NAME.head             the matrix NAME once more, prepared to be the output head

#include <cstdint>
#include <optional>

#include "engine/base/result.h"
#include "engine/io/gguf_part.h"

namespace tern::gguf {

// To be raised with every change to the meaning of these bytes: tile orders, split heads and their norms.
inline constexpr int64_t kPackedVersion = 1;
// Where data begin that kernels read in place.
inline constexpr uint64_t kPackedAlignment = 64;

bool is_packed_type(uint32_t type);
// The layout of a packed type id, of the file with these keys.
Result<const WeightFormat*> packed_format(uint32_t type, const Metadata& keys);
// Errors: packed tensors that may not begin at a multiple of kPackedAlignment.
Result<void> check_packed_alignment(const Part& part);
// WeightFormat::cols_per_scale of a packed matrix with these scales.
Result<int32_t> packed_scale_columns(const Tensor& matrix, const Tensor* scales);

}  // namespace tern::gguf
