#pragma once
// The entries of the list in weight_format.cpp, each defined in the file of its family.

#include "engine/io/weight_format.h"

namespace tern::formats {

// format_dense.cpp
extern const WeightFormat kF32, kF16, kBf16, kQ8_0, kQ4_0, kQ4K, kQ6K, kQ4_1, kQ5_0, kQ5_1, kQ2K,
    kQ3K, kQ5K, kIq4Nl, kMxfp4;
// format_i2s.cpp
extern const WeightFormat kI2s128, kI2sArm64, kI2s1x4;
// format_tq.cpp
extern const WeightFormat kTq1_0, kTq2_0, kPtq1_0;
// format_q.cpp
extern const WeightFormat kQ1_0, kQ2_0, kQ2_0Of128, kPq2_0, kStq1_0, kStq1_0Id42;
// format_bn.cpp
extern const WeightFormat kIq1Bn, kIq2Bn, kIq2BnR4;
// format_hf.cpp: not in GGUF files, and so not in the list.
inline constexpr uint32_t kNoGgmlType = UINT32_MAX;
extern const WeightFormat kPackedRows, kF32Absmean, kF16Absmean, kBf16Absmean, kSigns, kSignRows;
// The format with the widest groups in which float weights of this dtype ("F16") take the values -a, 0 and a only; null: none.
const WeightFormat* find_ternary_floats(std::string_view dtype, std::span<const std::byte> data,
                                        int64_t rows, int64_t cols);
// The floats that such weights are, where their format claims no more than that they are ternary; null for all other formats.
const WeightFormat* floats_of_ternary(const WeightFormat& format);

// format_mlx.cpp: two bits a weight, scales of this dtype ("F16") for groups of 32, 64 or 128 columns, or kWholeRow. Null: no such
// format.
const WeightFormat* find_mlx(std::string_view scale_dtype, int64_t group_size);

// format_packed.cpp: the kernels' own layouts, which only Tern writes, and so not in the list. Their ids are "TRN0" and on, one a
// packing; which tile it has is a key of the file (gguf_packed.h). Rows of whole tiles.
inline constexpr uint32_t kPackedType = 0x304E5254;
inline constexpr uint32_t kSplitHeadType = kPackedType + 4;
std::vector<const WeightFormat*> packed_formats(uint32_t ggml_type);
// Null: no kernel has such a layout.
const WeightFormat* find_packed(PackedTiles tiles);
// An output head in two planes.
extern const WeightFormat kSplitHead;

}  // namespace tern::formats
