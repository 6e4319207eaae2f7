#pragma once
// Matrix products of a layer: the input is quantised once, however many matrices it meets.

#include <cstdint>
#include <span>

#include "engine/base/buffer.h"
#include "engine/model/config.h"
#include "engine/model/weights.h"
#include "engine/run/compute.h"

namespace tern {

// int8 rows of up to `tokens` x `cols` activations, and the memory for them. Activations of 16 bits are two rows a token: x is
// about q + q', with q' of what rounding to q left over. Row t of token t comes first, row `tokens` + t with q' after those of all.
class QuantizedRows {
 public:
  QuantizedRows() = default;
  QuantizedRows(int32_t tokens, int32_t cols, Activations activations = Activations::kInt8);

  // Floats of scratch that quantize() needs for rows of `cols`.
  static constexpr size_t scratch_floats(int32_t cols) { return static_cast<size_t>(cols); }
  // Row `token` of `tokens`, `cols` wide. Nothing where activations stay floats.
  void quantize(const KernelTable& kernels, const float* x, int32_t token, int32_t tokens,
                int32_t cols, float* scratch);
  // Of planes x `tokens` rows; none where activations stay floats.
  Q8Rows view(int32_t tokens, int32_t cols) const;

 private:
  void quantize_row(const KernelTable& kernels, const float* x, int32_t row, int32_t cols);

  Activations activations_ = Activations::kInt8;
  AlignedArray<int8_t> q_;
  AlignedArray<float> scale_;
  AlignedArray<int32_t> sums_;
};

// `tokens` rows of `cols` floats, and the same rows quantised (if any of the matrices is ternary, and rounds its input).
struct LinearInput {
  const float* x = nullptr;
  Q8Rows q8;
  int32_t tokens = 0;
  const SplitInput* split = nullptr;  // for a split head
};

// y[t * rows + r], t < tokens: the product with one matrix. Where activations have 16 bits there is room for twice the tokens.
struct Product {
  const Linear* w = nullptr;
  float* y = nullptr;
};

// Scratch memory of each thread, and floats that all share within one step.
class ThreadScratch {
 public:
  ThreadScratch() = default;
  ThreadScratch(int threads, size_t bytes_each, size_t shared_floats = 0);
  uint8_t* of(int thread);
  std::span<float> shared() { return shared_.span(); }

 private:
  AlignedBuffer buffer_;
  AlignedArray<float> shared_;
  size_t stride_ = 0;
};

// A thread's, for up to so many tokens. Adapters need a float for each token and rank besides, shared by all threads.
size_t linear_scratch_bytes(const KernelTable& kernels, const Linear& w, int32_t tokens,
                            Activations activations = Activations::kInt8);

// All products in one step, rows split by bytes read into tiles that threads take as they come.
void multiply(const Compute& compute, const LinearInput& in, std::span<const Product> products,
              ThreadScratch& scratch);

}  // namespace tern
