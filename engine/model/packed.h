#pragma once
// Which kernel multiplies which ternary matrix, and whether the file has it in that kernel's order already.

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/io/tensor_file.h"
#include "kernels/kernels.h"

namespace tern {

// Which ternary kernel to use, where that is not left to the table.
struct TernaryChoice {
  std::optional<TernaryKind> wanted;            // asked for: serves every matrix
  std::optional<TernaryKind> cached, streamed;  // measured on this machine, instead of the table's
};

// How many ternary weights a file holds.
size_t ternary_weights(const TensorFile& file);
// Up to so many of them stay in the caches of common CPUs: 16 MB, four weights a byte.
inline constexpr size_t kCachedWeights = size_t{64} << 20;
// The kernel that serves a model of `weights` ternary weights: the one wanted, else the one for a model that stays in the caches
// or one that streams from memory.
TernaryKind choose_ternary_kind(const KernelTable& kernels, const TernaryChoice& choice,
                                size_t weights);

// The layout in which a file keeps such a matrix; none: it is packed at load.
std::optional<PackedLayout> stored_layout(const WeightFormat& format);
// The format of a layout.
const WeightFormat& stored_format(const PackedLayout& layout);

// The kernels of a file's matrices.
class KernelChoice {
 public:
  KernelChoice(const TensorFile& file, const KernelTable& kernels, const TernaryChoice& choice);

  // 1-bit formats get the sign kernel, matrices that lie in the order of a kernel of the table that kernel, unless another is wanted.
  const TernaryKernel& of(const WeightFormat& format) const;
  // Whether the kernel reads the matrix where it lies in the file.
  bool in_place(const WeightFormat& format) const {
    return stored_layout(format) == of(format).layout;
  }

 private:
  const KernelTable& kernels_;
  bool wanted_;
  const TernaryKernel* ternary_;
  const TernaryKernel* one_bit_;  // for matrices whose format has no zeros
};

// Scales of a matrix as a grid of (rows / rows_per_scale) x (cols / cols_per_scale).
struct ScaleGrid {
  std::vector<float> values;
  int32_t rows_per_scale = 0;
  int32_t cols_per_scale = 0;
};
// One scale if all are equal, one per row if they differ between rows only: exact, and less for the kernels to do.
ScaleGrid simplify_scales(std::vector<float> scales, int32_t rows, int32_t cols,
                          int32_t cols_per_scale);

}  // namespace tern
