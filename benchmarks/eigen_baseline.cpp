// Compiled for AVX2 and FMA where the target has them, as a program that cares for speed is.

#include "benchmarks/eigen_baseline.h"

#include <Eigen/Core>

#include "kernels/cpu.h"
#include "kernels/cpu_feature.h"

namespace tern {
namespace {

template <class T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using View = Eigen::Map<const RowMajor<T>>;

// Tokens by rows, so that y is row-major too.
template <class Weights>
void multiply(const Weights& w, const View<float>& x, Eigen::Map<RowMajor<float>>& y,
              int64_t first) {
  if (x.rows() == 1) {
    y.row(0).segment(first, w.rows()).noalias() = w * x.row(0).transpose();
  } else {
    y.middleCols(first, w.rows()).noalias() = x * w.transpose();
  }
}

}  // namespace

void eigen_float_product(const std::byte* weights, int32_t rows, int32_t cols, const float* x,
                         int32_t tokens, float* y) {
  const View<float> w(reinterpret_cast<const float*>(weights), rows, cols);
  Eigen::Map<RowMajor<float>> out(y, tokens, rows);
  multiply(w, View<float>(x, tokens, cols), out, 0);
}

void eigen_half_product(const std::byte* weights, int32_t rows, int32_t cols, const float* x,
                        int32_t tokens, float* y) {
  constexpr int64_t kRows = 16;  // of floats stay in the first-level caches until they are used
  const View<Eigen::half> w(reinterpret_cast<const Eigen::half*>(weights), rows, cols);
  const View<float> in(x, tokens, cols);
  Eigen::Map<RowMajor<float>> out(y, tokens, rows);
  // A prompt is worth larger blocks: each is multiplied with all tokens.
  const int64_t step = tokens == 1 ? kRows : 16 * kRows;
  RowMajor<float> block;
  for (int64_t first = 0; first < rows; first += step) {
    const int64_t count = std::min<int64_t>(step, rows - first);
    block = w.middleRows(first, count).cast<float>();
    multiply(block, in, out, first);
  }
}

bool eigen_runs_here() {
#if defined(__AVX2__)
  return (cpu_features() & kCpuAvx2) != 0;
#else
  return true;
#endif
}

}  // namespace tern
