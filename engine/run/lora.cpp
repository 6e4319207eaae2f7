#include "engine/run/lora.h"

#include <algorithm>

#include "engine/base/parallel.h"

namespace tern {
namespace {

// Rows of B whose sums wait in scratch memory to be added: enough to be worth a call, few enough for the caches.
constexpr int32_t kFewestRows = 16;
constexpr int32_t kSums = 2048;
constexpr int64_t kRankGrain = 4;

int32_t rows_at_once(int32_t tokens) {
  return std::max(kFewestRows, kSums / tokens);
}

size_t dense_bytes(const KernelTable& kernels, const LowRank& lora, int32_t tokens) {
  const size_t most = std::max(kernels.dense_scratch_bytes(lora.a.cols, tokens),
                               kernels.dense_scratch_bytes(lora.b.cols, tokens));
  return static_cast<size_t>(round_up(static_cast<int64_t>(most), 64));
}

}  // namespace

int64_t lora_width(std::span<const Product> products) {
  int64_t width = 0;
  for (const Product& product : products) {
    width += product.w->lora != nullptr ? product.w->lora->rank() : 0;
  }
  return width;
}

void lora_project(const Compute& compute, const LinearInput& in, std::span<const Product> products,
                  float* hidden, ThreadScratch& scratch) {
  const int64_t width = lora_width(products);
  const int64_t cols = products.front().w->cols();
  const int threads =
      compute.threads_for(width * cols * static_cast<int64_t>(sizeof(float)) * in.tokens);
  parallel_for(threads, width, kRankGrain, [&](int64_t begin, int64_t end, int thread) {
    int64_t start = 0;
    float* out = hidden;
    for (const Product& product : products) {
      if (product.w->lora == nullptr) {
        continue;
      }
      const LowRank& lora = *product.w->lora;
      const int64_t rank = lora.rank();
      const RowRange rows{static_cast<int32_t>(std::clamp<int64_t>(begin - start, 0, rank)),
                          static_cast<int32_t>(std::clamp<int64_t>(end - start, 0, rank))};
      if (rows.begin < rows.end) {
        compute.kernels->dense_matmul(lora.a, in.x, in.tokens, rows, out, rank, scratch.of(thread));
        for (int32_t t = 0; t < in.tokens; ++t) {
          for (int32_t r = rows.begin; r < rows.end; ++r) {
            out[t * rank + r] *= lora.scale[r] * product.w->lora_scale;
          }
        }
      }
      start += rank;
      out += in.tokens * rank;
    }
  });
}

void lora_add(const KernelTable& kernels, const LowRank& lora, const float* hidden, int32_t tokens,
              RowRange rows, float* y, int64_t stride, uint8_t* scratch) {
  auto* sums = reinterpret_cast<float*>(scratch + dense_bytes(kernels, lora, tokens));
  const int32_t most = rows_at_once(tokens);
  for (int32_t begin = rows.begin; begin < rows.end; begin += most) {
    const int32_t count = std::min(most, rows.end - begin);
    DenseMatrix some = lora.b;
    some.data += static_cast<size_t>(begin) * some.row_bytes();
    some.rows = count;
    kernels.dense_matmul(some, hidden, tokens, {0, count}, sums, count, scratch);
    for (int32_t t = 0; t < tokens; ++t) {
      kernels.add(y + t * stride + begin, sums + int64_t{t} * count, count);
    }
  }
}

size_t lora_scratch_bytes(const KernelTable& kernels, const LowRank& lora, int32_t tokens) {
  // The fewer tokens, the more rows: kSums for one, kFewestRows a token for many.
  return dense_bytes(kernels, lora, tokens) +
         static_cast<size_t>(std::max(kSums, kFewestRows * tokens)) * sizeof(float);
}

}  // namespace tern
