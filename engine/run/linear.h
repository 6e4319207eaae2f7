#pragma once
// Matrix products of a layer: the input is quantised once, however many matrices it meets.

#include <algorithm>
#include <array>
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

  static size_t bytes(int32_t tokens, int32_t cols, Activations activations);
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

// Memory of the products with the factored matrices of one input, of so many rows (tokens x envelopes) at once.
struct FactorMemory {
  // Of the matrix at one place.
  struct Place {
    AlignedArray<float> scaled;    // rows x widest: inputs times the scales of an envelope
    AlignedArray<float> products;  // planes x rows x widest
    AlignedArray<float> hidden;    // tokens x widest: between stages
    QuantizedRows quantized;       // of `scaled`
  };
  FactorMemory() = default;
  FactorMemory(const FactorShape& most, Activations activations);
  static size_t bytes(const FactorShape& most, Activations activations);

  // Tokens that stages of `envelopes` take at once: enough rows to make use of a weight that is at hand, few enough for the caches.
  static int32_t tokens_at_once(int32_t envelopes) { return std::max(1, kRows / envelopes); }
  static constexpr int32_t kRows = 64;

  std::array<Place, FactorShape::kPlaces> places;
};

// Scratch memory of each thread, and floats that all share within one step.
class ThreadScratch {
 public:
  ThreadScratch() = default;
  ThreadScratch(int threads, size_t bytes_each, size_t shared_floats = 0);
  static size_t bytes(int threads, size_t bytes_each, size_t shared_floats);
  uint8_t* of(int thread);
  std::span<float> shared() { return shared_.span(); }

  FactorMemory factors;  // for factored matrices, shared as well

 private:
  AlignedBuffer buffer_;
  AlignedArray<float> shared_;
  size_t stride_ = 0;
};

// A thread's, for up to so many tokens. Adapters need a float for each token and rank besides, shared by all threads.
size_t linear_scratch_bytes(const KernelTable& kernels, const Linear& w, int32_t tokens,
                            Activations activations = Activations::kInt8);

// The same of a ternary matrix.
size_t ternary_scratch_bytes(const KernelTable& kernels, const TernaryMatrix& w,
                             const TernaryKernel& kernel, int32_t tokens, Activations activations);

// Rows `rows` (whole panels) of one ternary product, with the input quantised, or as it is where it is not. `y` as in Product;
// scratch: ternary_scratch_bytes(...) bytes of this thread's own.
void multiply_ternary(const KernelTable& kernels, const LinearInput& in, const TernaryMatrix& w,
                      const TernaryKernel& kernel, RowRange rows, float* y, uint8_t* scratch);

// Rows of a product, cut into grains of a cost in units of work, which lie one after another on a line.
struct RowCut {
  int64_t all_rows;
  int32_t grain_rows;
  int64_t grains;
  int64_t grain_cost;

  RowCut(int64_t rows, int32_t of_grain, int64_t bytes);
  int64_t length() const { return grains * grain_cost; }
  // Rows of the grains that start in [begin, end).
  RowRange rows(int64_t begin, int64_t end) const { return {first_row(begin), first_row(end)}; }

 private:
  int32_t first_row(int64_t at) const {
    const int64_t grain = std::clamp<int64_t>((at + grain_cost - 1) / grain_cost, 0, grains);
    return static_cast<int32_t>(std::min<int64_t>(grain * grain_rows, all_rows));
  }
};

// All products in one step (factored matrices before), rows split by bytes read into tiles that threads take as they come.
void multiply(const Compute& compute, const LinearInput& in, std::span<const Product> products,
              ThreadScratch& scratch);

}  // namespace tern
