// 64-bit ARM with the dot product instructions: most processors since 2018 (Cortex-A55 and A76, Neoverse N1, Apple A13).
// Everything but the table is in an unnamed namespace and only small headers are included (DESIGN.md says why).

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu_feature.h"
#include "kernels/tables.h"

namespace tern {
namespace {

#include "kernels/neon_ternary.inl"

#include "kernels/neon_dot.inl"

template <class AnyFormat>
struct DotMultiplier {
  using Format = AnyFormat;
  static constexpr int kFields = Format::kFields;
  static constexpr int32_t kTokenTile = kFields <= 5 ? 4 : 2;  // at most 20 sums

  struct Chunk {
    int8x16_t codes[kChunkSteps][kFields];
  };

  static void unpack(const uint8_t* packed, int32_t steps, Chunk& chunk) {
    for (int32_t i = 0; i < steps; ++i) {
      Format::unpack(vld1q_u8(packed + i * kStepBytes), chunk.codes[i]);
    }
    for (int32_t i = steps; i % kUnitSteps != 0; ++i) {
      for (int f = 0; f < kFields; ++f) {
        chunk.codes[i][f] = vdupq_n_s8(0);
      }
    }
  }

  static size_t arranged_bytes(int32_t /*stride*/) { return 0; }
  static void arrange(const TokenBlock& /*tokens*/, int8_t* /*out*/) {}

  static void multiply(const Chunk& chunk, int32_t steps, const TokenBlock& tokens, int32_t col,
                       int32x4_t (*sums)[kFields]) {
    int32_t t = 0;
    for (; t + kTokenTile <= tokens.count; t += kTokenTile) {
      multiply_tile<kTokenTile>(chunk, steps, tokens.row(t) + col, tokens.x.stride, sums + t);
    }
    for (; t < tokens.count; ++t) {
      multiply_tile<1>(chunk, steps, tokens.row(t) + col, tokens.x.stride, sums + t);
    }
  }

 private:
  template <int kTokens>
  static void multiply_tile(const Chunk& chunk, int32_t steps, const int8_t* q, int64_t stride,
                            int32x4_t (*sums)[kFields]) {
    int32x4_t acc[kTokens][kFields];
    for (int t = 0; t < kTokens; ++t) {
      for (int f = 0; f < kFields; ++f) {
        acc[t][f] = sums[t][f];
      }
    }
    for (int32_t i = 0; i < steps; i += kUnitSteps) {
      int8x16_t four[kTokens];
      for (int t = 0; t < kTokens; ++t) {
        four[t] = vld1q_s8(q + t * stride + i * kStepCols);
      }
      multiply_step<kTokens, 0>(chunk.codes[i], four, acc);
      multiply_step<kTokens, 1>(chunk.codes[i + 1], four, acc);
      multiply_step<kTokens, 2>(chunk.codes[i + 2], four, acc);
      multiply_step<kTokens, 3>(chunk.codes[i + 3], four, acc);
    }
    for (int t = 0; t < kTokens; ++t) {
      for (int f = 0; f < kFields; ++f) {
        sums[t][f] = acc[t][f];
      }
    }
  }

  template <int kTokens, int kLane>
  static void multiply_step(const int8x16_t* codes, const int8x16_t* four,
                            int32x4_t (*acc)[kFields]) {
    for (int f = 0; f < kFields; ++f) {
      for (int t = 0; t < kTokens; ++t) {
        acc[t][f] = vdotq_laneq_s32(acc[t][f], codes[f], four[t], kLane);
      }
    }
  }
};

template <class Format>
constexpr TernaryKernel kDot = kTernary<DotDecoder<Format>, DotMultiplier<Format>>;

constexpr int kPeakProducts = 16;

inline int32x4_t peak_step(int32x4_t sums, int8x16_t a, int8x16_t b) {
  return vdotq_s32(sums, a, b);
}

#include "kernels/neon_peak.inl"

}  // namespace

const KernelTable kNeonDotprodTable = {
    .name = "neon_dotprod",
    .needs = kCpuNeon | kCpuDotprod,
    .ternary = {kDot<TwoBit>, kDot<Base3>, {}, {}, kDot<Sign>},
    .peak = {peak_ternary, peak_dense},
};

}  // namespace tern
