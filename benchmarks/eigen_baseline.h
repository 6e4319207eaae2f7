#pragma once
// Products in floating point by Eigen, a library that many programs multiply with: what ternary kernels replace.

#include <cstddef>
#include <cstdint>

namespace tern {

// y[t * rows + r] = x(t, :) . W(r, :); weights row-major, of the function's type; x: tokens x cols.
using EigenProduct = void (*)(const std::byte* weights, int32_t rows, int32_t cols, const float* x,
                              int32_t tokens, float* y);

void eigen_float_product(const std::byte* weights, int32_t rows, int32_t cols, const float* x,
                         int32_t tokens, float* y);
// Weights in half precision, turned into floats a block of rows at a time; sums are floats.
void eigen_half_product(const std::byte* weights, int32_t rows, int32_t cols, const float* x,
                        int32_t tokens, float* y);

// Whether this CPU has what the file was compiled for.
bool eigen_runs_here();

}  // namespace tern
