// The complete table in plain C++: the floor that every other table falls back to, and what runs where no other table does.
// Inner loops are written over small constant-size arrays so that compilers turn them into vector code (SSE2, NEON) without
// being allowed to reorder floating-point sums.

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/tables.h"

namespace tern {
namespace {

// ---------------------------------------------------------------------------------------------------------------- ternary
// One body for every packing: a chunk of a panel is unpacked to codes 0..2 (weight + 1), one a byte, and multiplied.

constexpr int32_t kLanes = 8;        // rows of a row block
constexpr int32_t kStepCols = 4;     // columns that a step advances
constexpr int32_t kStepBytes = 32;   // kStepCols codes of every lane
constexpr int32_t kChunkCols = 256;  // columns unpacked at a time
constexpr int32_t kChunkSteps = kChunkCols / kStepCols;
constexpr int32_t kTokenBlock = 32;  // tokens that meet a chunk while it is unpacked

using Codes = uint8_t[kChunkSteps][kStepBytes];  // of one row block

// Packings. unpack() reads `steps` steps of a panel from column `col` on, a multiple of 64.

struct TwoBit {
  static constexpr PackedLayout kLayout{Packing::kTwoBit, 4 * kLanes, kStepCols};

  static void unpack(const uint8_t* panel, int32_t col, int32_t steps, Codes* codes) {
    const uint8_t* packed = panel + int64_t{col} * kLanes;
    for (int32_t field = 0; field < fields_of(kLayout.packing); ++field) {
      for (int32_t i = 0; i < steps * kStepBytes; ++i) {
        codes[field][i / kStepBytes][i % kStepBytes] =
            static_cast<uint8_t>((packed[i] >> (2 * field)) & 3);
      }
    }
  }
};

struct Base3 {
  static constexpr PackedLayout kLayout{Packing::kBase3, 5 * kLanes, kStepCols};

  static void unpack(const uint8_t* panel, int32_t col, int32_t steps, Codes* codes) {
    const uint8_t* packed = panel + int64_t{col} * kLanes;
    for (int32_t i = 0; i < steps * kStepBytes; ++i) {
      uint32_t fraction =
          packed[i];  // 0.d0d1d2d3d4 in base 3: times 3, a digit comes out at the top
      for (int32_t field = 0; field < fields_of(kLayout.packing); ++field) {
        fraction *= 3;
        codes[field][i / kStepBytes][i % kStepBytes] = static_cast<uint8_t>(fraction >> 8);
        fraction &= 0xFF;
      }
    }
  }
};

struct Sign {
  static constexpr PackedLayout kLayout{Packing::kSign, 8 * kLanes, kStepCols};

  static void unpack(const uint8_t* panel, int32_t col, int32_t steps, Codes* codes) {
    const uint8_t* packed = panel + int64_t{col} * kLanes;
    for (int32_t field = 0; field < fields_of(kLayout.packing); ++field) {
      for (int32_t i = 0; i < steps * kStepBytes; ++i) {
        codes[field][i / kStepBytes][i % kStepBytes] =
            static_cast<uint8_t>(2 * ((packed[i] >> field) & 1));
      }
    }
  }
};

struct Bitplanes {
  static constexpr int32_t kWordCols = 64;
  static constexpr PackedLayout kLayout{Packing::kBitplanes, kLanes, kWordCols};

  static void unpack(const uint8_t* panel, int32_t col, int32_t steps, Codes* codes) {
    constexpr int32_t kPlaneBytes = kLanes * kWordCols / 8;
    for (int32_t step = 0; step < steps; ++step) {
      const int32_t at = col + step * kStepCols;
      const uint8_t* planes = panel + at / kWordCols * (2 * kPlaneBytes);
      for (int32_t lane = 0; lane < kLanes; ++lane) {
        uint64_t nonzero = 0;
        uint64_t minus = 0;
        std::memcpy(&nonzero, planes + lane * 8, sizeof(nonzero));
        std::memcpy(&minus, planes + kPlaneBytes + lane * 8, sizeof(minus));
        for (int32_t i = 0; i < kStepCols; ++i) {
          const int32_t bit = at % kWordCols + i;
          codes[0][step][lane * kStepCols + i] =
              static_cast<uint8_t>(1 + ((nonzero >> bit) & 1) - 2 * ((minus >> bit) & 1));
        }
      }
    }
  }
};

constexpr int32_t kMostFields = 8;
constexpr int32_t kMostRows = kMostFields * kLanes;

struct TernaryScratch {
  Codes codes[kMostFields];
  int16_t spread[kChunkSteps][kStepBytes];
  int32_t sums[kTokenBlock][kMostRows];  // products of the column group at hand
  float totals[kTokenBlock][kMostRows];  // scaled sums of the groups before it
  float scales[kMostRows];
};

// Four activations a step, repeated for every lane: what the codes of that step are multiplied with.
void spread_activations(const int8_t* q, int32_t steps, TernaryScratch& s) {
  for (int32_t step = 0; step < steps; ++step) {
    const int16_t four[4] = {q[4 * step], q[4 * step + 1], q[4 * step + 2], q[4 * step + 3]};
    for (int32_t lane = 0; lane < kLanes; ++lane) {
      std::memcpy(&s.spread[step][4 * lane], four, sizeof(four));
    }
  }
}

// sums[lane] += codes . activations over `steps` steps. Codes are 0..2 and |q| <= 128, so that an int16 grows by at most 256 a
// step: 64 steps reach 16384 < 32767.
void add_products(const uint8_t (*codes)[kStepBytes], const int16_t (*spread)[kStepBytes],
                  int32_t steps, int32_t* sums) {
  static_assert(2 * 128 * kChunkSteps < 32767);
  int16_t acc[kStepBytes] = {};
  for (int32_t step = 0; step < steps; ++step) {
    for (int32_t i = 0; i < kStepBytes; ++i) {
      acc[i] = static_cast<int16_t>(acc[i] + codes[step][i] * spread[step][i]);
    }
  }
  for (int32_t lane = 0; lane < kLanes; ++lane) {
    sums[lane] += acc[4 * lane] + acc[4 * lane + 1] + acc[4 * lane + 2] + acc[4 * lane + 3];
  }
}

struct Columns {
  int32_t begin;
  int32_t end;
};

// Scales of a panel's rows in one column group; rows that do not exist get 0.
void load_scales(const TernaryMatrix& w, int32_t first_row, int32_t group, int32_t count,
                 float* scales) {
  const int32_t groups = (w.cols + w.cols_per_scale - 1) / w.cols_per_scale;
  for (int32_t i = 0; i < count; ++i) {
    const int32_t row = first_row + i;
    const int64_t at = int64_t{row / w.rows_per_scale} * groups + group;
    scales[i] = row < w.rows ? w.scales[at] : 0.0F;
  }
}

// Ends a column group: what the codes' offset of 1 added is taken off, and the exact sums are scaled.
void finish_group(const Q8Rows& x, int32_t first_token, int32_t tokens, Columns group, int32_t rows,
                  TernaryScratch& s) {
  for (int32_t t = 0; t < tokens; ++t) {
    const int32_t* blocks = x.sums + int64_t{first_token + t} * (x.stride / kQ8SumBlock);
    int32_t offset = 0;
    for (int32_t b = group.begin / kQ8SumBlock; b * kQ8SumBlock < group.end; ++b) {
      offset += blocks[b];
    }
    for (int32_t i = 0; i < rows; ++i) {
      s.totals[t][i] += static_cast<float>(s.sums[t][i] - offset) * s.scales[i];
      s.sums[t][i] = 0;
    }
  }
}

template <class Format>
void multiply_panel(const TernaryMatrix& w, const Q8Rows& x, int32_t first_row, int32_t first_token,
                    int32_t tokens, TernaryScratch& s) {
  constexpr PackedLayout kLayout = Format::kLayout;
  const uint8_t* panel = w.codes + packed_bytes(kLayout, first_row, w.cols);
  std::memset(s.sums, 0, sizeof(s.sums));
  std::memset(s.totals, 0, sizeof(s.totals));
  for (int32_t group = 0; group * w.cols_per_scale < w.cols; ++group) {
    const int32_t begin = group * w.cols_per_scale;
    const int32_t end = w.cols - begin < w.cols_per_scale ? w.cols : begin + w.cols_per_scale;
    for (int32_t col = begin; col < end; col += kChunkCols) {
      const int32_t cols = end - col < kChunkCols ? end - col : kChunkCols;
      const int32_t steps = (cols + kStepCols - 1) / kStepCols;
      Format::unpack(panel, col, steps, s.codes);
      for (int32_t t = 0; t < tokens; ++t) {
        spread_activations(x.q + int64_t{first_token + t} * x.stride + col, steps, s);
        for (int32_t field = 0; field < fields_of(kLayout.packing); ++field) {
          add_products(s.codes[field], s.spread, steps, s.sums[t] + field * kLanes);
        }
      }
    }
    load_scales(w, first_row, group, kLayout.tile_rows, s.scales);
    finish_group(x, first_token, tokens, {begin, end}, kLayout.tile_rows, s);
  }
}

template <class Format>
void ternary_matmul(const TernaryMatrix& w, const Q8Rows& x, RowRange rows, float* y,
                    int64_t y_stride, uint8_t* scratch) noexcept {
  constexpr int32_t kRows = Format::kLayout.tile_rows;
  auto& s = *reinterpret_cast<TernaryScratch*>(scratch);
  for (int32_t row = rows.begin; row < rows.end; row += kRows) {
    const int32_t count = rows.end - row < kRows ? rows.end - row : kRows;
    for (int32_t token = 0; token < x.rows; token += kTokenBlock) {
      const int32_t tokens = x.rows - token < kTokenBlock ? x.rows - token : kTokenBlock;
      multiply_panel<Format>(w, x, row, token, tokens, s);
      for (int32_t t = 0; t < tokens; ++t) {
        for (int32_t i = 0; i < count; ++i) {
          y[(token + t) * y_stride + row + i] = x.scale[token + t] * s.totals[t][i];
        }
      }
    }
  }
}

size_t ternary_scratch_bytes(int32_t /*cols*/, int32_t /*tokens*/) noexcept {
  return sizeof(TernaryScratch);
}

template <class Format>
constexpr TernaryKernel kTernary{Format::kLayout, ternary_matmul<Format>, ternary_scratch_bytes};

// ---- By counting bits: no product is left. Activations are cut into planes X_b of 64 columns, the bit b of each: q = sum of c_b x_b
// with c_b = 2^b, the top one negative. Where a weight is -1, w q = -q = ~q + 1. So M & (S ^ X_b), M the plane of nonzeros and S
// that of minus signs, is the bit b of w q, or of w q - 1 where S is set:
//   sum(w q) = sum over b of c_b popcount(M & (S ^ X_b)) + popcount(S)

using PlaneWords = uint64_t[8];  // X_b of 64 columns

void slice_activations(const int8_t* q, int32_t stride, PlaneWords* planes) {
  for (int32_t col = 0; col < stride; ++col) {
    const auto bits = static_cast<uint8_t>(q[col]);
    for (int b = 0; b < 8; ++b) {
      uint64_t& word = planes[col / 64][b];
      word = (col % 64 == 0 ? 0 : word) | uint64_t{(bits >> b) & 1U} << (col % 64);
    }
  }
}

int32_t count_products(uint64_t nonzero, uint64_t minus, const PlaneWords& x, int32_t bits) {
  int32_t sum = std::popcount(minus);
  for (int32_t b = 0; b + 1 < bits; ++b) {
    sum += std::popcount(nonzero & (minus ^ x[b])) << b;
  }
  return sum - (std::popcount(nonzero & (minus ^ x[bits - 1])) << (bits - 1));
}

// One output before the token's scale.
float count_row(const TernaryMatrix& w, int32_t row, const PlaneWords* x, int32_t bits) {
  constexpr int32_t kPlaneBytes = kLanes * 8;
  const uint8_t* panel = w.codes + packed_bytes(Bitplanes::kLayout, row / kLanes * kLanes, w.cols);
  const uint8_t* words = panel + row % kLanes * 8;
  const int32_t groups = (w.cols + w.cols_per_scale - 1) / w.cols_per_scale;
  float total = 0.0F;
  for (int32_t group = 0; group < groups; ++group) {
    const int32_t begin = group * w.cols_per_scale;
    const int32_t end = w.cols - begin < w.cols_per_scale ? w.cols : begin + w.cols_per_scale;
    int32_t sum = 0;
    for (int32_t block = begin / 64; block * 64 < end; ++block) {
      uint64_t nonzero = 0;
      uint64_t minus = 0;
      std::memcpy(&nonzero, words + int64_t{block} * (2 * kPlaneBytes), sizeof(nonzero));
      std::memcpy(&minus, words + int64_t{block} * (2 * kPlaneBytes) + kPlaneBytes, sizeof(minus));
      sum += count_products(nonzero, minus, x[block], bits);
    }
    total += static_cast<float>(sum) * w.scales[int64_t{row / w.rows_per_scale} * groups + group];
  }
  return total;
}

void bitplanes_matmul(const TernaryMatrix& w, const Q8Rows& x, RowRange rows, float* y,
                      int64_t y_stride, uint8_t* scratch) noexcept {
  auto* planes = reinterpret_cast<PlaneWords*>(scratch);
  for (int32_t t = 0; t < x.rows; ++t) {
    slice_activations(x.q + int64_t{t} * x.stride, x.stride, planes);
    for (int32_t row = rows.begin; row < rows.end; ++row) {
      y[t * y_stride + row] = x.scale[t] * count_row(w, row, planes, x.bits);
    }
  }
}

size_t bitplanes_scratch_bytes(int32_t cols, int32_t /*tokens*/) noexcept {
  return static_cast<size_t>(round_up(cols, kQ8ColsAlign)) / 64 * sizeof(PlaneWords);
}

// ------------------------------------------------------------------------------------------------------- number formats

template <class T>
T load(const uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

// IEEE half to float, exactly, without branches so that loops of it become vector code. Shifted into a float's place, a
// half's exponent is 112 too low, for subnormal ones too: a product with 2^112 mends that. Infinity and NaN get all exponent bits.
float float_of_half(Half h) {
  const uint32_t magnitude = (h & 0x7FFFU) << 13;
  const auto scaled = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112F);
  const uint32_t not_finite = magnitude >= (31U << 23) ? 0x7F800000U : 0U;
  return std::bit_cast<float>(scaled | not_finite | ((h & 0x8000U) << 16));
}

// Float to IEEE half, to nearest even.
Half half_of_float(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const auto sign = static_cast<uint32_t>((bits >> 16) & 0x8000);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  uint32_t result = 0;
  if (magnitude > 0x7F800000) {
    result = 0x7E00 | ((magnitude >> 13) & 0x3FF);  // NaN, made quiet
  } else if (magnitude >= 0x47800000) {             // 2^16 and above
    result = 0x7C00;
  } else if (magnitude < 0x38800000) {  // below 2^-14: subnormal half
    // Adding 0.5, whose last place is 2^-24 like a subnormal half's, rounds in hardware and leaves the result's bits at
    // the bottom.
    result = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) -
             std::bit_cast<uint32_t>(0.5F);
  } else {
    constexpr uint32_t kRebias = (127 - 15) << 23;
    const uint32_t odd = (magnitude >> 13) & 1;
    result = (magnitude - kRebias + 0xFFF + odd) >> 13;  // may carry into infinity: right
  }
  return static_cast<Half>(result | sign);
}

// --------------------------------------------------------------------------------------------------------- dense weights
#include "kernels/dense_levels.inl"

#include "kernels/portable_dense.inl"

#include "kernels/portable_split.inl"

// ------------------------------------------------------------------------------------------------------ float operations

void rms_norm(const float* x, const float* weight, int32_t n, float eps, float* out) noexcept {
  const float mean = dot(x, x, n) / static_cast<float>(n);
  const float scale = 1.0F / std::sqrt(mean + eps);
  for (int32_t i = 0; i < n; ++i) {
    out[i] = x[i] * scale * weight[i];
  }
}

// Nearest even of |v| < 2^22: adding 1.5 x 2^23 leaves no fraction bits. -ffp-contract=off and IEEE rules keep it.
float round_half_even(float v) {
  constexpr float kNoFraction = 12582912.0F;
  return (v + kNoFraction) - kNoFraction;
}

void quantize_q8(const float* x, int32_t n, int32_t stride, int8_t* q, float* scale,
                 int32_t* sums) noexcept {
  float max = 1e-5F;
  for (int32_t i = 0; i < n; ++i) {
    const float magnitude = std::fabs(x[i]);
    max = magnitude > max ? magnitude : max;  // false for NaN
  }
  *scale = max / 127.0F;
  const float inverse = 127.0F / max;
  for (int32_t i = 0; i < n; ++i) {
    const float v = x[i] * inverse;
    const float low = v < -128.0F ? -128.0F : v;
    const float clamped = low > 127.0F ? 127.0F : low;
    q[i] = v == v ? static_cast<int8_t>(round_half_even(clamped)) : int8_t{0};
  }
  for (int32_t i = n; i < stride; ++i) {
    q[i] = 0;
  }
  for (int32_t block = 0; block < stride / kQ8SumBlock; ++block) {
    int32_t sum = 0;
    for (int32_t i = 0; i < kQ8SumBlock; ++i) {
      sum += q[block * kQ8SumBlock + i];
    }
    sums[block] = sum;
  }
}

void silu_mul(float* gate, const float* up, int32_t n) noexcept {
  for (int32_t i = 0; i < n; ++i) {
    gate[i] = gate[i] / (1.0F + std::exp(-gate[i])) * up[i];
  }
}

void relu2_mul(float* gate, const float* up, int32_t n) noexcept {
  for (int32_t i = 0; i < n; ++i) {
    const float positive = gate[i] > 0.0F ? gate[i] : 0.0F;
    gate[i] = positive * positive * up[i];
  }
}

// (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), which loses nothing where tanh is close to -1.
void gelu_mul(float* gate, const float* up, int32_t n) noexcept {
  constexpr float kScale = -1.5957691216057308F;  // -2 sqrt(2 / pi)
  for (int32_t i = 0; i < n; ++i) {
    const float g = gate[i];
    const float exponent = kScale * (g + 0.044715F * g * g * g);
    gate[i] = g / (1.0F + std::exp(exponent)) * up[i];
  }
}

void add(float* x, const float* y, int32_t n) noexcept {
  for (int32_t i = 0; i < n; ++i) {
    x[i] += y[i];
  }
}

void rope(float* head, const float* cos, const float* sin, int32_t dims,
          bool rotate_half) noexcept {
  const int32_t pairs = dims / 2;
  const int32_t step = rotate_half ? 1 : 2;         // between first members of pairs
  const int32_t partner = rotate_half ? pairs : 1;  // from first to second member
  for (int32_t i = 0; i < pairs; ++i) {
    float& a = head[i * step];
    float& b = head[i * step + partner];
    const float rotated_a = a * cos[i] - b * sin[i];
    const float rotated_b = b * cos[i] + a * sin[i];
    a = rotated_a;
    b = rotated_b;
  }
}

// A line of a kv cache: plain arrays, which compilers turn into what vectors there are.
struct Line {
  static constexpr size_t size = kKvLine;
  float lanes[kKvLine];

  Line() = default;
  explicit Line(float value) {
    for (float& lane : lanes) {
      lane = value;
    }
  }
  static Line load_unaligned(const float* p) {
    Line line;
    std::memcpy(line.lanes, p, sizeof(line.lanes));
    return line;
  }
  void store_unaligned(float* p) const { std::memcpy(p, lanes, sizeof(lanes)); }

  template <class Operation>
  static Line make(Operation operation) {
    Line line;
    for (int32_t i = 0; i < kKvLine; ++i) {
      line.lanes[i] = operation(i);
    }
    return line;
  }
  friend Line operator+(const Line& a, const Line& b) {
    return make([&](int32_t i) { return a.lanes[i] + b.lanes[i]; });
  }
  friend Line operator-(const Line& a, const Line& b) {
    return make([&](int32_t i) { return a.lanes[i] - b.lanes[i]; });
  }
  friend Line operator*(const Line& a, const Line& b) {
    return make([&](int32_t i) { return a.lanes[i] * b.lanes[i]; });
  }
  friend Line fma(const Line& a, const Line& b, const Line& c) {
    return make([&](int32_t i) { return a.lanes[i] * b.lanes[i] + c.lanes[i]; });
  }
  friend Line max(const Line& a, const Line& b) {
    return make([&](int32_t i) { return a.lanes[i] > b.lanes[i] ? a.lanes[i] : b.lanes[i]; });
  }
  friend Line exp(const Line& a) {
    return make([&](int32_t i) { return std::exp(a.lanes[i]); });
  }
};

struct HalfLines {
  using Number = Half;
  static Line load(const Half* p) {
    return Line::make([&](int32_t i) { return float_of_half(p[i]); });
  }
};
struct ByteLines {
  using Number = int8_t;
  static Line load(const int8_t* p) {
    return Line::make([&](int32_t i) { return static_cast<float>(p[i]); });
  }
};

#include "kernels/batch.inl"

#include "kernels/attention.inl"

void to_half(const float* x, int32_t n, Half* out) noexcept {
  for (int32_t i = 0; i < n; ++i) {
    out[i] = half_of_float(x[i]);
  }
}

// Chains of x = x a + b, which no compiler shortens: enough of them to fill sixteen 128-bit registers.
template <class Number, size_t kChains>
int64_t run_peak(int64_t rounds) {
  volatile Number seed = 1;
  const Number a = seed;
  const Number b = seed;
  Number x[kChains] = {};
  for (int64_t round = 0; round < rounds; ++round) {
    for (Number& chain : x) {
      chain = static_cast<Number>(chain * a + b);
    }
  }
  for (const Number chain : x) {
    seed = chain;
  }
  return rounds * static_cast<int64_t>(kChains);
}

int64_t peak_ternary(int64_t rounds) noexcept {
  return run_peak<uint16_t, 64>(rounds);
}

int64_t peak_dense(int64_t rounds) noexcept {
  return run_peak<float, 32>(rounds);
}

}  // namespace

const KernelTable kPortableTable = {
    .name = "portable",
    .needs = 0,
    .ternary = {kTernary<TwoBit>,
                kTernary<Base3>,
                {Bitplanes::kLayout, bitplanes_matmul, bitplanes_scratch_bytes},
                kTernary<Bitplanes>,
                kTernary<Sign>},
    .split = {split_screen, split_rows, split_matmul},
    .dense_matmul = dense_matmul,
    .dense_scratch_bytes = dense_scratch_bytes,
    .dense_row = dense_row,
    .rms_norm = rms_norm,
    .quantize_q8 = quantize_q8,
    .silu_mul = silu_mul,
    .relu2_mul = relu2_mul,
    .gelu_mul = gelu_mul,
    .add = add,
    .rope = rope,
    .attention = attention<Line, HalfLines, ByteLines>,
    .to_half = to_half,
    .peak = {peak_ternary, peak_dense},
};

}  // namespace tern
