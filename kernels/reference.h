#pragma once
// The definition of every kernel operation, in plain loops and double precision: what the tables are tested against. Ternary
// products start from trits and scales, never from packed bytes; dense weights are decoded value by value. Slow on purpose.

#include <cstdint>
#include <vector>

#include "kernels/kernels.h"

namespace tern::reference {

// A ternary matrix before packing: rows x cols trits, scales as in TernaryMatrix.
struct TritMatrix {
  const int8_t* trits = nullptr;
  const float* scales = nullptr;
  int32_t rows = 0;
  int32_t cols = 0;
  int32_t rows_per_scale = 0;
  int32_t cols_per_scale = 0;
};

// Sum of trit * q over the columns of one column group: the integer that every table must reproduce exactly.
int64_t ternary_sum(const TritMatrix& w, const Q8Rows& x, int32_t token, int32_t row,
                    int32_t group);
// One output, in the order of operations that TernaryKernel::matmul promises: equal in every bit.
float ternary_product(const TritMatrix& w, const Q8Rows& x, int32_t token, int32_t row);

// Value of an IEEE half, and the half nearest to a float (ties to even).
double half_value(Half h);
Half nearest_half(float x);
// One weight of a dense matrix, exactly.
double dense_weight(const DenseMatrix& w, int32_t row, int32_t col);
// x . W(row, :), and the sum of magnitudes of its terms, which bounds the rounding error of any order of summation.
struct DenseProduct {
  double value = 0.0;
  double magnitude = 0.0;
};
DenseProduct dense_product(const DenseMatrix& w, const float* x, int32_t row);

// One weight of a split head, exactly; and four times its fine part.
struct SplitWeight {
  double value = 0.0;
  double fine = 0.0;
};
SplitWeight split_weight(const SplitMatrix& w, int32_t row, int32_t col);
// The integer q of column `col` of an input.
int32_t split_input_at(const SplitInput& x, int32_t col);
// A row's sum in the order of operations that SplitKernel promises: equal in every bit. y = sum * x.scale.
float split_sum(const SplitMatrix& w, const SplitInput& x, int32_t row);

struct Q8Row {
  std::vector<int8_t> q;  // padded with zeros to `stride`
  float scale = 0.0F;
  std::vector<int32_t> sums;
};
Q8Row quantize_q8(const float* x, int32_t n, int32_t stride);

std::vector<double> rms_norm(const float* x, const float* weight, int32_t n, float eps);
std::vector<double> silu_mul(const float* gate, const float* up, int32_t n);
std::vector<double> relu2_mul(const float* gate, const float* up, int32_t n);
std::vector<double> gelu_mul(const float* gate, const float* up, int32_t n);
std::vector<double> rope(const float* head, const float* cos, const float* sin, int32_t dims,
                         bool rotate_half);
// A key or value as the cache keeps it: each number rounded as store_kv() says.
std::vector<double> kv_row(KvType type, const float* x, int32_t dims);
// softmax(scale * q . k_p) v over the keys and values of some positions, as kv_row() gives them.
std::vector<double> attention(const float* q, const std::vector<std::vector<double>>& keys,
                              const std::vector<std::vector<double>>& values, RowRange positions,
                              double scale);

}  // namespace tern::reference
