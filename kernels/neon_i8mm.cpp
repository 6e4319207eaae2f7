// 64-bit ARM with the int8 matrix instructions: processors since about 2021 (Cortex-A510 and X2, Neoverse V1 and N2, Apple M2).
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

// smmla adds to a 2 x 2 matrix of int32 the products of two rows of 8 bytes with two others: here, of two tokens with two rows
// of weights. A row block is two pairs of rows; tokens are arranged in pairs too, 8 columns of the one beside 8 of the other.
template <class AnyFormat>
struct MatrixMultiplier {
  using Format = AnyFormat;
  static constexpr int kFields = Format::kFields;
  static constexpr int32_t kCols = 8;  // of one instruction
  static constexpr int32_t kSteps = kCols / kStepCols;
  static constexpr int32_t kPairTile = 4;  // token pairs: 16 sums with two row blocks

  struct Chunk {
    int8x16_t codes[kChunkSteps / kSteps][kFields][2];
  };

  static void unpack(const uint8_t* packed, int32_t steps, Chunk& chunk) {
    for (int32_t i = 0; i < steps; i += kSteps) {
      int8x16_t even[kFields];
      int8x16_t odd[kFields] = {};
      Format::unpack(vld1q_u8(packed + i * kStepBytes), even);
      if (i + 1 < steps) {
        Format::unpack(vld1q_u8(packed + (i + 1) * kStepBytes), odd);
      }
      for (int f = 0; f < kFields; ++f) {
        const int32x4_t first = vreinterpretq_s32_s8(even[f]);
        const int32x4_t second = vreinterpretq_s32_s8(odd[f]);
        chunk.codes[i / kSteps][f][0] = vreinterpretq_s8_s32(vzip1q_s32(first, second));
        chunk.codes[i / kSteps][f][1] = vreinterpretq_s8_s32(vzip2q_s32(first, second));
      }
    }
  }

  static size_t arranged_bytes(int32_t stride) {
    return static_cast<size_t>(kTokenBlock) * static_cast<size_t>(stride);
  }

  // The partner of a last, odd token is zeros.
  static void arrange(const TokenBlock& tokens, int8_t* out) {
    for (int32_t t = 0; t < tokens.count; t += 2) {
      int8_t* pair = out + int64_t{t} * tokens.x.stride;
      const bool has_partner = t + 1 < tokens.count;
      for (int32_t col = 0; col < tokens.x.stride; col += kCols) {
        vst1_s8(pair + 2 * col, vld1_s8(tokens.row(t) + col));
        vst1_s8(pair + 2 * col + kCols,
                has_partner ? vld1_s8(tokens.row(t + 1) + col) : vdup_n_s8(0));
      }
    }
  }

  static void multiply(const Chunk& chunk, int32_t steps, const TokenBlock& tokens, int32_t col,
                       int32x4_t (*sums)[kFields]) {
    const int32_t pairs = (tokens.count + 1) / 2;
    const int64_t stride = 2 * int64_t{tokens.x.stride};
    const int8_t* q = tokens.arranged + 2 * int64_t{col};
    int32_t pair = 0;
    for (; pair + kPairTile <= pairs; pair += kPairTile) {
      multiply_fields<kPairTile>(chunk, steps, q + pair * stride, stride, sums + 2 * pair);
    }
    for (; pair < pairs; ++pair) {
      multiply_fields<1>(chunk, steps, q + pair * stride, stride, sums + 2 * pair);
    }
  }

 private:
  template <int kPairs, int kField = 0>
  static void multiply_fields(const Chunk& chunk, int32_t steps, const int8_t* q, int64_t stride,
                              int32x4_t (*sums)[kFields]) {
    if constexpr (kField + 2 <= kFields) {
      multiply_tile<kPairs, kField, 2>(chunk, steps, q, stride, sums);
      multiply_fields<kPairs, kField + 2>(chunk, steps, q, stride, sums);
    } else if constexpr (kField < kFields) {
      multiply_tile<kPairs, kField, 1>(chunk, steps, q, stride, sums);
    }
  }

  // kPairs token pairs times the row blocks from kField on.
  template <int kPairs, int kField, int kCount>
  static void multiply_tile(const Chunk& chunk, int32_t steps, const int8_t* q, int64_t stride,
                            int32x4_t (*sums)[kFields]) {
    int32x4_t acc[kPairs][kCount][2] = {};
    for (int32_t i = 0; i < (steps + 1) / kSteps; ++i) {
      int8x16_t x[kPairs];
      for (int p = 0; p < kPairs; ++p) {
        x[p] = vld1q_s8(q + p * stride + 2 * i * kCols);
      }
      for (int f = 0; f < kCount; ++f) {
        for (int half = 0; half < 2; ++half) {
          const int8x16_t w = chunk.codes[i][kField + f][half];
          for (int p = 0; p < kPairs; ++p) {
            acc[p][f][half] = vmmlaq_s32(acc[p][f][half], x[p], w);
          }
        }
      }
    }
    for (int p = 0; p < kPairs; ++p) {
      for (int f = 0; f < kCount; ++f) {
        // The first token's products are the lower halves, the second's the upper ones.
        const int64x2_t rows01 = vreinterpretq_s64_s32(acc[p][f][0]);
        const int64x2_t rows23 = vreinterpretq_s64_s32(acc[p][f][1]);
        int32x4_t& first = sums[2 * p][kField + f];
        int32x4_t& second = sums[2 * p + 1][kField + f];
        first = vaddq_s32(first, vreinterpretq_s32_s64(vzip1q_s64(rows01, rows23)));
        second = vaddq_s32(second, vreinterpretq_s32_s64(vzip2q_s64(rows01, rows23)));
      }
    }
  }
};

template <class Format>
constexpr TernaryKernel kMatrix = kTernary<DotDecoder<Format>, MatrixMultiplier<Format>>;

constexpr int kPeakProducts = 32;

inline int32x4_t peak_step(int32x4_t sums, int8x16_t a, int8x16_t b) {
  return vmmlaq_s32(sums, a, b);
}

#include "kernels/neon_peak.inl"

}  // namespace

const KernelTable kNeonI8mmTable = {
    .name = "neon_i8mm",
    .needs = kCpuNeon | kCpuDotprod | kCpuI8mm,
    .ternary = {kMatrix<TwoBit>, kMatrix<Base3>, {}, {}, kMatrix<Sign>},
    .peak = {peak_ternary, peak_dense},
};

}  // namespace tern
