#include "engine/run/linear.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/base/parallel.h"
#include "engine/run/factored.h"
#include "engine/run/lora.h"
#include "kernels/pack.h"

namespace tern {
namespace {

// Rows handed out together are whole panels of a packed matrix; of a dense one, just enough to be worth a call.
constexpr int32_t kDenseRowGrain = 16;
// Work is split in units of about this many bytes of weights.
constexpr int64_t kUnitBytes = 4096;
// Pieces of each thread's share. More even out cores of different speed; fewer let kernels run longer through memory.
constexpr int kTilesPerThread = 8;
constexpr int64_t kLeastTileBytes = 48 << 10;

// How one product's rows are cut.
RowCut cut_of(const Linear& linear, int threads) {
  int32_t grain_rows = kDenseRowGrain;
  if (const auto* ternary = std::get_if<TernaryMatrix>(&linear.matrix)) {
    // Kernels like to walk two panels at once.
    const int32_t panel = ternary->layout.tile_rows;
    grain_rows = linear.rows() / panel >= 8 * threads ? 2 * panel : panel;
  }
  return {linear.rows(), grain_rows, static_cast<int64_t>(linear.bytes())};
}

// One panel as floats and as trits.
size_t float_panel_bytes(const TernaryMatrix& w) {
  const int64_t weights = int64_t{w.layout.tile_rows} * w.cols;
  return static_cast<size_t>(round_up(weights * int64_t{sizeof(float) + 1}, 64));
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

// With inputs as they are: one panel of weights at a time is unpacked to floats.
void multiply_floats(const KernelTable& kernels, const LinearInput& in, const TernaryMatrix& w,
                     RowRange rows, float* y, uint8_t* scratch) {
  const auto cols = static_cast<size_t>(w.cols);
  const size_t panel_weights = w.layout.tile_rows * cols;
  auto* weights = reinterpret_cast<float*>(scratch);
  auto* trits = reinterpret_cast<int8_t*>(weights + panel_weights);
  uint8_t* rest = scratch + float_panel_bytes(w);
  const auto groups = static_cast<size_t>((w.cols + w.cols_per_scale - 1) / w.cols_per_scale);
  for (int32_t first = rows.begin; first < rows.end; first += w.layout.tile_rows) {
    const int32_t count = std::min<int32_t>(w.layout.tile_rows, rows.end - first);
    const size_t panel = static_cast<size_t>(first) / w.layout.tile_rows;
    unpack_panel(w.layout, w.codes + panel * panel_bytes(w.layout, w.cols), count, w.cols, trits);
    for (int32_t r = 0; r < count; ++r) {
      const float* scales = w.scales + static_cast<size_t>((first + r) / w.rows_per_scale) * groups;
      const size_t at = static_cast<size_t>(r) * cols;
      for (size_t c = 0; c < cols; ++c) {
        weights[at + c] =
            static_cast<float>(trits[at + c]) * scales[c / static_cast<size_t>(w.cols_per_scale)];
      }
    }
    const DenseMatrix dense{scratch, count, w.cols, DenseType::kF32};
    kernels.dense_matmul(dense, in.x, in.tokens, {0, count}, y + first, w.rows, rest);
  }
}

}  // namespace

void multiply_ternary(const KernelTable& kernels, const LinearInput& in, const TernaryMatrix& w,
                      const TernaryKernel& kernel, RowRange rows, float* y, uint8_t* scratch) {
  const int64_t stride = w.rows;
  if (in.q8.rows == 0) {
    multiply_floats(kernels, in, w, rows, y, scratch);
    return;
  }
  kernel.matmul(w, in.q8, rows, y, stride, scratch);
  if (in.q8.rows == in.tokens) {
    return;
  }
  for (int64_t t = 0; t < in.tokens; ++t) {
    kernels.add(y + t * stride + rows.begin, y + (in.tokens + t) * stride + rows.begin,
                rows.end - rows.begin);
  }
}

namespace {

void multiply_rows(const KernelTable& kernels, const LinearInput& in, const Product& product,
                   RowRange rows, uint8_t* scratch) {
  const Linear& w = *product.w;
  const int64_t stride = w.rows();
  if (const auto* split = std::get_if<SplitMatrix>(&w.matrix)) {
    kernels.split.matmul(*split, in.split, in.tokens, rows, product.y, stride);
    return;  // its input holds the scale
  }
  if (const auto* ternary = std::get_if<TernaryMatrix>(&w.matrix)) {
    multiply_ternary(kernels, in, *ternary, *w.kernel, rows, product.y, scratch);
  } else {
    kernels.dense_matmul(std::get<DenseMatrix>(w.matrix), in.x, in.tokens, rows, product.y, stride,
                         scratch);
  }
  scale_rows(product.y, stride, in.tokens, rows, w.scale);
}

}  // namespace

RowCut::RowCut(int64_t rows, int32_t of_grain, int64_t bytes)
    : all_rows(rows),
      grain_rows(of_grain),
      grains((rows + of_grain - 1) / of_grain),
      grain_cost(std::max<int64_t>(1, bytes / grains / kUnitBytes)) {}

QuantizedRows::QuantizedRows(int32_t tokens, int32_t cols, Activations activations)
    : activations_(activations) {
  if (activations == Activations::kF32) {
    return;
  }
  const auto stride = static_cast<size_t>(round_up(cols, kQ8ColsAlign));
  const auto rows = static_cast<size_t>(tokens * planes_of(activations));
  q_ = AlignedArray<int8_t>(rows * stride);
  scale_ = AlignedArray<float>(rows);
  sums_ = AlignedArray<int32_t>(rows * stride / kQ8SumBlock);
}

size_t QuantizedRows::bytes(int32_t tokens, int32_t cols, Activations activations) {
  const auto stride = static_cast<size_t>(round_up(cols, kQ8ColsAlign));
  const auto rows = static_cast<size_t>(tokens * planes_of(activations));
  return activations == Activations::kF32
             ? 0
             : rows * (stride + sizeof(float) + stride / kQ8SumBlock * sizeof(int32_t));
}

void QuantizedRows::quantize_row(const KernelTable& kernels, const float* x, int32_t row,
                                 int32_t cols) {
  const auto stride = static_cast<size_t>(round_up(cols, kQ8ColsAlign));
  const auto at = static_cast<size_t>(row);
  kernels.quantize_q8(x, cols, static_cast<int32_t>(stride), q_.data() + at * stride, &scale_[at],
                      sums_.data() + at * (stride / kQ8SumBlock));
}

void QuantizedRows::quantize(const KernelTable& kernels, const float* x, int32_t token,
                             int32_t tokens, int32_t cols, float* scratch) {
  if (activations_ == Activations::kF32) {
    return;
  }
  quantize_row(kernels, x, token, cols);
  if (activations_ != Activations::kInt16) {
    return;
  }
  // What is left over is at most half a step. Enlarged, exactly, it is as large as x was, far from the least scale that the kernel
  // gives.
  constexpr float kEnlarge = 256;
  const auto stride = static_cast<size_t>(round_up(cols, kQ8ColsAlign));
  const int8_t* q = q_.data() + static_cast<size_t>(token) * stride;
  const float scale = scale_[static_cast<size_t>(token)];
  for (int32_t i = 0; i < cols; ++i) {
    scratch[i] = (x[i] - static_cast<float>(q[i]) * scale) * kEnlarge;
  }
  quantize_row(kernels, scratch, tokens + token, cols);
  scale_[static_cast<size_t>(tokens + token)] /= kEnlarge;
}

Q8Rows QuantizedRows::view(int32_t tokens, int32_t cols) const {
  if (activations_ == Activations::kF32) {
    return {};
  }
  const auto stride = static_cast<int32_t>(round_up(cols, kQ8ColsAlign));
  return Q8Rows{q_.data(), scale_.data(), sums_.data(), tokens * planes_of(activations_),
                cols,      stride};
}

ThreadScratch::ThreadScratch(int threads, size_t bytes_each, size_t shared_floats)
    : shared_(shared_floats),
      stride_(static_cast<size_t>(round_up(static_cast<int64_t>(bytes_each), 64))) {
  buffer_ = AlignedBuffer(stride_ * static_cast<size_t>(threads));
}

size_t ThreadScratch::bytes(int threads, size_t bytes_each, size_t shared_floats) {
  return static_cast<size_t>(round_up(static_cast<int64_t>(bytes_each), 64)) *
             static_cast<size_t>(threads) +
         shared_floats * sizeof(float);
}

uint8_t* ThreadScratch::of(int thread) {
  return reinterpret_cast<uint8_t*>(buffer_.data()) + stride_ * static_cast<size_t>(thread);
}

size_t ternary_scratch_bytes(const KernelTable& kernels, const TernaryMatrix& w,
                             const TernaryKernel& kernel, int32_t tokens, Activations activations) {
  return activations == Activations::kF32
             ? float_panel_bytes(w) + kernels.dense_scratch_bytes(w.cols, tokens)
             : kernel.scratch_bytes(w.cols, tokens * planes_of(activations));
}

size_t linear_scratch_bytes(const KernelTable& kernels, const Linear& w, int32_t tokens,
                            Activations activations) {
  if (w.factored != nullptr) {
    return factored_scratch_bytes(kernels, *w.factored, activations);
  }
  const auto* ternary = std::get_if<TernaryMatrix>(&w.matrix);
  const size_t own = ternary == nullptr
                         ? kernels.dense_scratch_bytes(w.cols(), tokens)
                         : ternary_scratch_bytes(kernels, *ternary, *w.kernel, tokens, activations);
  return w.lora == nullptr ? own : std::max(own, lora_scratch_bytes(kernels, *w.lora, tokens));
}

void multiply(const Compute& compute, const LinearInput& in, std::span<const Product> products,
              ThreadScratch& scratch) {
  multiply_factored(compute, in, products, scratch);
  int64_t bytes = 0;
  for (const Product& product : products) {
    if (product.w->factored == nullptr) {
      bytes += static_cast<int64_t>(product.w->bytes());
    }
  }
  if (bytes == 0) {
    return;
  }
  const int threads = compute.threads_for(bytes * in.tokens);
  int64_t total = 0;
  for (const Product& product : products) {
    total += product.w->factored == nullptr ? cut_of(*product.w, threads).length() : 0;
  }
  const int64_t lora = lora_width(products);
  if (lora > 0) {
    TERN_CHECK(scratch.shared().size() >= static_cast<size_t>(lora * in.tokens),
               "adapters need shared scratch memory");
    lora_project(compute, in, products, scratch.shared().data(), scratch);
  }
  const auto tiles = static_cast<int>(
      std::clamp<int64_t>(bytes * in.tokens / kLeastTileBytes / threads, 1, kTilesPerThread));
  // The products lie one after another on a line of length `total`, which is cut into tiles.
  parallel_tiles(threads, tiles, total, 1, [&](int64_t begin, int64_t end, int thread) {
    int64_t start = 0;
    const float* hidden = scratch.shared().data();
    for (const Product& product : products) {
      if (product.w->factored != nullptr) {
        continue;
      }
      const RowCut cut = cut_of(*product.w, threads);
      const RowRange rows = cut.rows(begin - start, end - start);
      const LowRank* adapters = product.w->lora;
      if (rows.begin < rows.end) {
        multiply_rows(*compute.kernels, in, product, rows, scratch.of(thread));
        if (adapters != nullptr) {
          lora_add(*compute.kernels, *adapters, hidden, in.tokens, rows, product.y,
                   product.w->rows(), scratch.of(thread));
        }
      }
      hidden += adapters != nullptr ? int64_t{in.tokens} * adapters->rank() : 0;
      start += cut.length();
    }
  });
}

}  // namespace tern
