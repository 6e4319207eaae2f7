#pragma once
// Weights and inputs in the form that split.h describes: the only code that orders their bytes.

#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/split.h"

namespace tern {

// Where one packed row goes: coarse_row_bytes(), fine_row_bytes(), its norms.
struct SplitRowBytes {
  uint8_t* coarse;
  uint8_t* fine;
  SplitNorms* norms;
};

// Repacks one row of Q6_K blocks, without loss. False if a scale is not a number.
bool split_q6_k_row(const uint8_t* blocks, const SplitMatrix& shape, const SplitRowBytes& out);
// Quantises a row of shape.cols floats: per group the scale of least squared error. False if a weight is not a number or is
// above 1e8 in magnitude. Weights below about 1e-3 lose precision in d: scale them up first.
bool split_float_row(const float* weights, const SplitMatrix& shape, const SplitRowBytes& out);

// Quantises shape.cols floats to one token's input in `blocks` (shape.blocks() of them) and `units` (shape.units()):
// scale = max(1e-5, max|x|) / 16319, q = half_even(x * (16319 / max) / unit). NaN is left out of the maximum and becomes 0;
// an infinity makes the scale infinite.
SplitInput split_input(const float* x, const SplitMatrix& shape, SplitInputBlock* blocks,
                       float* units);

}  // namespace tern
