#pragma once
// The output head made ready for the kernels: as it lies in the file, in another dense type, or split into two planes.

#include <cstdint>
#include <optional>
#include <string_view>

#include "engine/base/buffer.h"
#include "engine/base/result.h"
#include "engine/io/tensor_file.h"
#include "kernels/kernels.h"

namespace tern {

enum class HeadType : uint8_t {
  kAuto,  // split, where that loses nothing and the head is too large for the caches
  kKeep,  // as it lies in the file
  kF16,   // the three below: converted at load
  kQ8_0,
  kQ6K,  // split into two planes; from a Q6_K file without loss, else rounded to 6 bits
};
inline constexpr std::string_view kHeadTypeNames[] = {"auto", "keep", "f16", "q8_0", "q6_k"};

// What becomes of a head of this tensor: kAuto decided, and kKeep where the file's type is the one asked for. Errors: a ternary
// head cannot be converted.
Result<HeadType> choose_head_type(HeadType wanted, const Tensor& tensor);

// A split head and its memory.
struct SplitHead {
  AlignedBuffer memory;
  SplitMatrix matrix;
  float scale = 1.0F;  // multiplies the products
};
// Packs `dense`, rows in parallel. The memory holds all coarse rows, all fine rows, all norms. Errors: weights that are not numbers.
Result<SplitHead> split_head(const Tensor& tensor, const DenseMatrix& dense,
                             const KernelTable& kernels, int threads);

// What multiplies the products of a split head that was made from this type.
float split_head_scale(DenseType type);
// A split head in a file: what split_head(...).memory holds, byte by byte. Errors: another type, norms that are no numbers.
Result<SplitMatrix> view_split_head(const Tensor& tensor);
// The end of such a tensor's name, after that of the matrix that it was made of.
inline constexpr std::string_view kPreparedHead = ".head";

// The head in another dense type, kF16 or kQ8_0, and its memory. Errors: a type whose blocks do not fill rows.
struct DenseHead {
  AlignedBuffer memory;
  DenseMatrix matrix;
};
Result<DenseHead> convert_head(const Tensor& tensor, const DenseMatrix& dense, DenseType type,
                               const KernelTable& kernels, int threads);

}  // namespace tern
