#pragma once
// The whole interface between the runtime and the instruction sets: views of data, and a table of functions.
//
// All functions are noexcept, allocate nothing, keep no state, and may run on several threads at once on disjoint outputs.
// Shapes are checked by the caller (engine/run); kernels trust them. Buffers need no alignment unless said so.

#include <cstddef>
#include <cstdint>

#include "kernels/kv.h"
#include "kernels/layout.h"
#include "kernels/split.h"

namespace tern {

// A packed ternary matrix, rows x cols (y = W x). A view; never owns.
// weight(r, c) = trit(r, c) * scales[(r / rows_per_scale) * scale_cols + c / cols_per_scale],
// with scale_cols = ceil(cols / cols_per_scale). One scale for all: rows_per_scale = rows, cols_per_scale = cols.
// cols_per_scale is cols or a multiple of kQ8SumBlock.
struct TernaryMatrix {
  const uint8_t* codes = nullptr;  // packed_bytes(layout, rows, cols), 64-byte aligned
  const float* scales = nullptr;
  int32_t rows = 0;
  int32_t cols = 0;
  int32_t rows_per_scale = 0;
  int32_t cols_per_scale = 0;
  PackedLayout layout;
};

inline constexpr int32_t kQ8SumBlock = 64;  // columns summed together in Q8Rows::sums
inline constexpr int32_t kQ8ColsAlign =
    256;  // Q8Rows rows are padded with zeros to a multiple of this

// Activations as the BitNet models were trained: one int8 row a token, x(t, c) = q(t, c) * scale[t].
struct Q8Rows {
  const int8_t* q =
      nullptr;  // rows x stride, -128..127; columns from cols to stride are 0; 64-byte aligned
  const float* scale = nullptr;  // rows: max|x| / 127
  const int32_t* sums =
      nullptr;  // rows x (stride / kQ8SumBlock): sum of each block of kQ8SumBlock q, which turns products
                // with codes 0..2 into products with weights -1..1
  int32_t rows = 0;
  int32_t cols = 0;
  int32_t stride = 0;  // round_up(cols, kQ8ColsAlign)
  int32_t bits =
      8;  // every q fits in so many bits of two's complement: 8, or 4 (then bit-sliced kernels need four planes)
};

// A layout and the only function that reads it.
struct TernaryKernel {
  PackedLayout layout;

  // y[t * y_stride + r] = x(t, :) . W(r, :) for all t < x.rows and r in `rows`, whose ends are multiples of
  // layout.tile_rows or equal w.rows. The integer sums are exact; each is scaled once per column group:
  // y = x.scale[t] * sum over groups of (float(int sum of the group) * scale of the group), added in order of columns.
  // One token (decode) and many (prefill) come through the same entry. `scratch`: scratch_bytes(...) bytes of this
  // thread's own, 64-byte aligned.
  void (*matmul)(const TernaryMatrix& w, const Q8Rows& x, RowRange rows, float* y, int64_t y_stride,
                 uint8_t* scratch) noexcept = nullptr;
  size_t (*scratch_bytes)(int32_t cols, int32_t tokens) noexcept = nullptr;
};

// The ternary kernels that a table may have; each is exact, so which one serves is a question of speed alone.
enum class TernaryKind : uint8_t {
  kTwoBit,
  kBase3,
  kBitplanes,        // and + popcount over bit-sliced activations
  kBitplanesMasked,  // masked add and subtract of the activations themselves
  kSign,             // only matrices without zeros
};
inline constexpr int kTernaryKinds = 5;
inline constexpr const char* kTernaryKindNames[kTernaryKinds] = {"two_bit", "base3", "bitplanes",
                                                                 "bitplanes_masked", "sign"};

// Weight types that are multiplied as they lie in the file, in float: embeddings, output heads, and fp16 baselines.
enum class DenseType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ8_0,
  kQ4_0,
  kQ4_K,
  kQ6_K,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ2_K,
  kQ3_K,
  kQ5_K,
  kIQ4_NL,
  kMXFP4
};
inline constexpr int kDenseTypeCount = 15;
// As GGUF files spell them.
inline constexpr const char* kDenseTypeNames[kDenseTypeCount] = {
    "F32",  "F16",  "BF16", "Q8_0", "Q4_0", "Q4_K",   "Q6_K", "Q4_1",
    "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q5_K", "IQ4_NL", "MXFP4"};

struct DenseTypeInfo {
  int32_t block_weights;
  int32_t block_bytes;
};
constexpr DenseTypeInfo dense_type_info(DenseType type) {
  constexpr DenseTypeInfo kInfo[kDenseTypeCount] = {
      {1, 4},   {1, 2},   {1, 2},    {32, 34},   {32, 18},   {256, 144}, {256, 210}, {32, 20},
      {32, 22}, {32, 24}, {256, 84}, {256, 110}, {256, 176}, {32, 18},   {32, 17}};
  return kInfo[static_cast<int>(type)];
}

// rows x cols weights in file order: row-major blocks of the type. A view; `data` may lie at any address.
struct DenseMatrix {
  const uint8_t* data = nullptr;
  int32_t rows = 0;
  int32_t cols = 0;  // a multiple of the type's block_weights
  DenseType type = DenseType::kF32;

  size_t row_bytes() const {
    const DenseTypeInfo info = dense_type_info(type);
    return static_cast<size_t>(cols / info.block_weights) * static_cast<size_t>(info.block_bytes);
  }
};

// Query heads that share one kv head, of one or more tokens of a row: the rows (token, head) of one call.
struct AttentionQueries {
  const float* q = nullptr;  // of token t, head h: q + t * token_stride + h * dims
  int64_t token_stride = 0;
  int32_t tokens = 0;
  int32_t heads = 0;
  int32_t first_position = 0;  // of token 0: token t sees positions up to first_position + t
  float scale = 1.0F;          // of products q . k
  int32_t window = 0;          // the last so many of them, its own included; 0: all

  // The first position that token t sees.
  int32_t first_seen(int32_t t) const {
    const int32_t first = first_position + t + 1 - window;
    return window == 0 || first < 0 ? 0 : first;
  }
};

// What a row has summed so far: out = sum of exp(score - max) * value, sum = sum of exp(score - max). Sums over parts of the
// positions can be merged (engine/run/attention.h).
struct AttentionState {
  float* max;
  float* sum;
  float* out;  // layout.slabs() * kKvLine floats
};
constexpr int64_t kAttentionHeader = 16;
inline int64_t attention_state_floats(const KvLayout& layout) {
  return kAttentionHeader + int64_t{layout.slabs()} * kKvLine;
}
// The state in memory of attention_state_floats().
constexpr AttentionState attention_state(float* memory) {
  return {memory, memory + 1, memory + kAttentionHeader};
}

// Scratch of KernelTable::attention for `rows` rows: scores and weights, decoded lines, and where each row is.
struct AttentionRow {
  const float* q;
  int32_t begin, end;  // of the positions that it sees
};
inline int64_t attention_line_floats(const KvLayout& layout) {
  return int64_t{layout.dims > kKvBlock ? layout.dims : kKvBlock} * kKvLine;
}
inline size_t attention_scratch_bytes(const KvLayout& layout, int32_t rows) {
  return (size_t{2} * static_cast<size_t>(rows) * kKvBlock +
          static_cast<size_t>(attention_line_floats(layout))) *
             sizeof(float) +
         static_cast<size_t>(rows) * sizeof(AttentionRow);
}

// How fast registers alone can go: loops of the instruction that bounds a table's products, without memory. They return how many
// multiplications (each with its addition) `rounds` rounds were; a round takes some ten nanoseconds.
struct PeakLoops {
  int64_t (*ternary)(int64_t rounds) noexcept = nullptr;  // ternary weights and int8 activations
  int64_t (*dense)(int64_t rounds) noexcept = nullptr;    // floats
};

// Everything the runtime asks of an instruction set. A null entry is filled from a table below (select.cpp).
struct KernelTable {
  const char* name = nullptr;
  uint32_t needs = 0;  // CpuFeature bits (cpu.h)

  TernaryKernel ternary[kTernaryKinds];  // indexed by TernaryKind
  // What serves where nothing was measured: models whose weights stay in the caches, and models that stream from memory.
  TernaryKind cached = TernaryKind::kTwoBit;
  TernaryKind streamed = TernaryKind::kTwoBit;

  const TernaryKernel& kernel(TernaryKind kind) const { return ternary[static_cast<int>(kind)]; }

  SplitKernel split = {};

  // y[t * y_stride + r] = x(t, :) . W(r, :) for r in `rows`, t < tokens; x: tokens x w.cols, row-major floats. Within one table
  // a result depends neither on the other tokens of the call nor on `rows`. `scratch`: dense_scratch_bytes(...) bytes of this
  // thread's own, 64-byte aligned.
  void (*dense_matmul)(const DenseMatrix& w, const float* x, int32_t tokens, RowRange rows,
                       float* y, int64_t y_stride, uint8_t* scratch) noexcept = nullptr;
  size_t (*dense_scratch_bytes)(int32_t cols, int32_t tokens) noexcept = nullptr;
  // out[0..cols) = row `row` of w, the same bits in every table.
  void (*dense_row)(const DenseMatrix& w, int32_t row, float* out) noexcept = nullptr;

  // out = x / sqrt(mean(x^2) + eps) * weight, all of length n. out may be x.
  void (*rms_norm)(const float* x, const float* weight, int32_t n, float eps,
                   float* out) noexcept = nullptr;
  // One row of Q8Rows from n floats: scale = max(1e-5, max|x|) / 127, q = clamp(half_even(x * (127 / max)), -128, 127).
  // Writes q[0..stride), *scale and sums[0..stride / kQ8SumBlock): the same bits in every table. NaN is left out of the
  // maximum and becomes 0; an infinity makes the scale infinite.
  void (*quantize_q8)(const float* x, int32_t n, int32_t stride, int8_t* q, float* scale,
                      int32_t* sums) noexcept = nullptr;
  // gate = silu(gate) * up; gate = max(gate, 0)^2 * up; gate = gelu(gate) * up, gelu(x) = x / 2 * (1 + tanh(sqrt(2 / pi) * (x +
  // 0.044715 x^3))).
  void (*silu_mul)(float* gate, const float* up, int32_t n) noexcept = nullptr;
  void (*relu2_mul)(float* gate, const float* up, int32_t n) noexcept = nullptr;
  void (*gelu_mul)(float* gate, const float* up, int32_t n) noexcept = nullptr;
  // x += y.
  void (*add)(float* x, const float* y, int32_t n) noexcept = nullptr;
  // Rotates pairs of one head of `dims` values by angles given as cos/sin[dims / 2]. rotate_half pairs (i, i + dims / 2)
  // (the NeoX order); otherwise pairs (2i, 2i + 1).
  void (*rope)(float* head, const float* cos, const float* sin, int32_t dims,
               bool rotate_half) noexcept = nullptr;

  // states[row] = attention of each row over those of the positions [begin, end) that it sees, from nothing; row = token *
  // heads + head, states attention_state_floats() apart; of a row that sees none of them max = -infinity, and the rest 0.
  // `blocks`: a head's, from position 0; begin is a multiple of kKvBlock. A row's result depends on neither the other rows nor the positions that it does not see. `scratch`:
  // attention_scratch_bytes(...) of this thread's own, 64-byte aligned.
  void (*attention)(const AttentionQueries& queries, const KvLayout& layout, const uint8_t* blocks,
                    int32_t begin, int32_t end, float* states, uint8_t* scratch) noexcept = nullptr;
  // out = x rounded to half precision (nearest even), n values.
  void (*to_half)(const float* x, int32_t n, Half* out) noexcept = nullptr;

  PeakLoops peak = {};
};

}  // namespace tern
