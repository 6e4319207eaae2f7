#include "engine/run/linear.h"

#include <algorithm>

#include "engine/base/parallel.h"

namespace tern {
namespace {

// Rows handed out together: whole panels of a packed matrix; for dense ones just enough to be worth a call.
constexpr int32_t kDenseRowGrain = 16;
// Work is split in units of about this many bytes of weights.
constexpr int64_t kUnitBytes = 4096;

int32_t row_grain(const Linear& w) {
  const auto* ternary = std::get_if<TernaryMatrix>(&w.matrix);
  return ternary != nullptr ? ternary->layout.tile_rows : kDenseRowGrain;
}

int64_t grains(const Linear& w) {
  return (w.rows() + row_grain(w) - 1) / row_grain(w);
}

int64_t grain_cost(const Linear& w) {
  return std::max<int64_t>(1, static_cast<int64_t>(w.bytes()) / grains(w) / kUnitBytes);
}

void scale_rows(float* y, int64_t stride, int32_t tokens, RowRange rows, float scale) {
  if (scale == 1.0F) {
    return;
  }
  for (int32_t t = 0; t < tokens; ++t) {
    for (int32_t r = rows.begin; r < rows.end; ++r) {
      y[t * stride + r] *= scale;
    }
  }
}

void multiply_rows(const KernelTable& kernels, const LinearInput& in, const Product& product,
                   RowRange rows, uint8_t* scratch) {
  const Linear& w = *product.w;
  const int64_t stride = w.rows();
  if (const auto* ternary = std::get_if<TernaryMatrix>(&w.matrix)) {
    w.kernel->matmul(*ternary, in.q8, rows, product.y, stride, scratch);
  } else {
    kernels.dense_matmul(std::get<DenseMatrix>(w.matrix), in.x, in.tokens, rows, product.y, stride,
                         scratch);
  }
  scale_rows(product.y, stride, in.tokens, rows, w.scale);
}

}  // namespace

QuantizedRows::QuantizedRows(int32_t tokens, int32_t cols) {
  const auto stride = static_cast<size_t>(round_up(cols, kQ8ColsAlign));
  const auto rows = static_cast<size_t>(tokens);
  q_ = AlignedArray<int8_t>(rows * stride);
  scale_ = AlignedArray<float>(rows);
  sums_ = AlignedArray<int32_t>(rows * stride / kQ8SumBlock);
}

void QuantizedRows::quantize(const KernelTable& kernels, const float* x, int32_t token,
                             int32_t cols) {
  const auto stride = static_cast<int32_t>(round_up(cols, kQ8ColsAlign));
  const auto row = static_cast<size_t>(token);
  kernels.quantize_q8(x, cols, stride, q_.data() + row * static_cast<size_t>(stride), &scale_[row],
                      sums_.data() + row * static_cast<size_t>(stride / kQ8SumBlock));
}

Q8Rows QuantizedRows::view(int32_t tokens, int32_t cols) const {
  const auto stride = static_cast<int32_t>(round_up(cols, kQ8ColsAlign));
  return Q8Rows{q_.data(), scale_.data(), sums_.data(), tokens, cols, stride};
}

ThreadScratch::ThreadScratch(int threads, size_t bytes_each)
    : stride_(static_cast<size_t>(round_up(static_cast<int64_t>(bytes_each), 64))) {
  buffer_ = AlignedBuffer(stride_ * static_cast<size_t>(threads));
}

uint8_t* ThreadScratch::of(int thread) {
  return reinterpret_cast<uint8_t*>(buffer_.data()) + stride_ * static_cast<size_t>(thread);
}

size_t linear_scratch_bytes(const KernelTable& kernels, const Linear& w, int32_t tokens) {
  return w.ternary() ? w.kernel->scratch_bytes(w.cols(), tokens)
                     : kernels.dense_scratch_bytes(w.cols(), tokens);
}

void multiply(const Compute& compute, const LinearInput& in, std::span<const Product> products,
              ThreadScratch& scratch) {
  int64_t total = 0;
  int64_t bytes = 0;
  for (const Product& product : products) {
    total += grains(*product.w) * grain_cost(*product.w);
    bytes += static_cast<int64_t>(product.w->bytes());
  }
  // The products lie one after another on a line of length `total`; each thread takes one piece of it.
  parallel_for(compute.threads_for(bytes * in.tokens), total, 1,
               [&](int64_t begin, int64_t end, int thread) {
                 int64_t start = 0;
                 for (const Product& product : products) {
                   const Linear& w = *product.w;
                   const int64_t cost = grain_cost(w);
                   const int64_t length = grains(w) * cost;
                   // A grain belongs to the piece in which it starts.
                   const auto first_grain = [&](int64_t at) {
                     return std::clamp<int64_t>((at - start + cost - 1) / cost, 0, grains(w));
                   };
                   const auto row = [&](int64_t grain) {
                     return static_cast<int32_t>(std::min<int64_t>(grain * row_grain(w), w.rows()));
                   };
                   const RowRange rows{row(first_grain(begin)), row(first_grain(end))};
                   if (rows.begin < rows.end) {
                     multiply_rows(*compute.kernels, in, product, rows, scratch.of(thread));
                   }
                   start += length;
                 }
               });
}

}  // namespace tern
