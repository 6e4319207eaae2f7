#pragma once
// Output heads: 6-bit weights in two planes, so that the largest outputs can be found from the upper plane alone.
//
// A row is a run of blocks of 256 columns, a block 16 groups of 16. Column c of group g of block b has the weight
//
//   d[b] * scale[b][g] * (q - 32),  q = 4 coarse + fine,  coarse in 0..15, fine in 0..3
//   = d[b] * scale[b][g] * ((4 coarse - 30.5) + (fine - 1.5)),
//
// the values of Q6_K, whose blocks are repacked without loss. The second form splits it into a coarse part and a fine part that
// is as often positive as negative and at most 1.5 in magnitude. DESIGN.md draws the layout and derives the bounds.

#include <cstddef>
#include <cstdint>

#include "kernels/layout.h"

namespace tern {

inline constexpr int32_t kSplitBlock = 256;  // columns of a block
inline constexpr int32_t kSplitGroups = 16;  // groups of a block, each with a scale
inline constexpr int32_t kSplitFields = 4;   // a group is 4 fields of 4 columns
// The largest |q| of an input, 128 * 127 + 63: it leaves |low| <= 64, and sums of a group, at most 16 * 32 * 16319 < 2^24, are
// exact in a float.
inline constexpr int32_t kSplitLevels = 16319;

inline constexpr int32_t kCoarseBlockBytes = 128;  // of codes; then come all scales, then all d
inline constexpr int32_t kFineBlockBytes = 64;

// Euclidean norms of a row's parts, rounded up: of d * scale * (4 coarse - 30.5) and of d * scale * (fine - 1.5).
struct SplitNorms {
  float coarse = 0.0F;
  float fine = 0.0F;
};

// A view; never owns. Columns are padded to whole blocks with scales of 0.
struct SplitMatrix {
  const uint8_t* coarse =
      nullptr;  // rows x coarse_row_bytes(): codes, int8 scales, halves d; 64-byte aligned
  const uint8_t* fine = nullptr;      // rows x fine_row_bytes(): codes; 64-byte aligned
  const SplitNorms* norms = nullptr;  // rows
  int32_t rows = 0;
  int32_t cols = 0;

  int32_t blocks() const { return (cols + kSplitBlock - 1) / kSplitBlock; }
  int32_t units() const { return (blocks() + 15) / 16 * 16; }
  size_t scales_at() const { return static_cast<size_t>(blocks()) * kCoarseBlockBytes; }
  size_t halves_at() const {
    return static_cast<size_t>(blocks()) * (kCoarseBlockBytes + kSplitGroups);
  }
  size_t coarse_row_bytes() const {
    return (halves_at() + 2 * static_cast<size_t>(blocks()) + 63) / 64 * 64;
  }
  size_t fine_row_bytes() const { return static_cast<size_t>(blocks()) * kFineBlockBytes; }
  const uint8_t* coarse_row(int32_t row) const {
    return coarse + static_cast<size_t>(row) * coarse_row_bytes();
  }
  const uint8_t* fine_row(int32_t row) const {
    return fine + static_cast<size_t>(row) * fine_row_bytes();
  }
};

// A block of one token's input, q = 128 high + low in columns' order of the codes: byte 4 g + j of field f is column
// 16 g + 4 f + j.
struct alignas(64) SplitInputBlock {
  int8_t high[kSplitFields][64];
  int8_t low[kSplitFields][64];
  int32_t offset[kSplitGroups];  // -32 times the group's sum of q
  // Two halves of -30.5 / 4 times the group's sum of high, rounded to an integer together.
  int16_t screen_offset[kSplitGroups][2];
};

// One token's input: x(c) = scale * unit of its block * q(c).
struct SplitInput {
  const SplitInputBlock* blocks = nullptr;
  // Powers of two from 2^-14 to 1, the smallest with which a block's |q| stay below kSplitLevels: so a block without outliers
  // keeps as many bits as one with. Padded to SplitMatrix::units(). A unit times a half is exact in a float.
  const float* units = nullptr;
  float scale = 0.0F;
  // What screening leaves out of a row is at most norms.coarse * coarse_error + norms.fine * fine_error, all rounding included
  // (split_input derives it).
  float coarse_error = 0.0F;
  float fine_error = 0.0F;
};

// No product of the row, before the input's scale, is farther than this from what `screen` gives.
inline float split_bound(const SplitNorms& row, const SplitInput& x) {
  return row.coarse * x.coarse_error + row.fine * x.fine_error;
}

// The only functions that read a SplitMatrix. `rows` and `matmul` give the same bits in all tables; `screen` gives estimates.
struct SplitKernel {
  // y[t * y_stride + r] = the sum of row r, before the input's scale, to within split_bound, for r in `rows`, t < tokens. It reads
  // the coarse plane alone and multiplies with `high` alone:
  //   512 * sum over blocks of unit * d * sum over groups of scale * (sum(coarse * high) + screen_offset).
  void (*screen)(const SplitMatrix& w, const SplitInput* x, int32_t tokens, RowRange rows, float* y,
                 int64_t y_stride) noexcept = nullptr;
  // y[r] = x . W(r, :) for the `count` rows r that `rows` lists.
  void (*rows)(const SplitMatrix& w, const SplitInput& x, const int32_t* rows, int32_t count,
               float* y) noexcept = nullptr;
  // y[t * y_stride + r] = x[t] . W(r, :) for r in `rows`, t < tokens.
  void (*matmul)(const SplitMatrix& w, const SplitInput* x, int32_t tokens, RowRange rows, float* y,
                 int64_t y_stride) noexcept = nullptr;
};

}  // namespace tern
