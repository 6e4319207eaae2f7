// Every 64-bit ARM processor: NEON as the base architecture has it. Everything but the table is in an unnamed namespace and
// only small headers are included (DESIGN.md says why).

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <xsimd/xsimd.hpp>

#include "kernels/cpu_feature.h"
#include "kernels/tables.h"

namespace tern {
namespace {

#include "kernels/batch.inl"

#include "kernels/attention.inl"
#include "kernels/float_ops.inl"

using Floats = xsimd::batch<float, xsimd::neon64>;

#include "kernels/neon_float.inl"
#include "kernels/neon_vectors.inl"

#include "kernels/dense_decode.inl"

#include "kernels/dense.inl"
#include "kernels/neon_ternary.inl"

#include "kernels/neon_bitplanes.inl"
#include "kernels/neon_mlal.inl"

template <class Format>
constexpr TernaryKernel kMlal = kTernary<MlalDecoder<Format>, MlalMultiplier<Format>>;

constexpr int kPeakProducts = 16;

// Products as int16, pairs of them added to int32.
inline int32x4_t peak_step(int32x4_t sums, int8x16_t a, int8x16_t b) {
  const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
  return vpadalq_s16(sums, vmlal_high_s8(low, a, b));
}

#include "kernels/neon_peak.inl"

}  // namespace

const KernelTable kNeonTable = {
    .name = "neon",
    .needs = kCpuNeon,
    .ternary = {kMlal<TwoBit>, kMlal<Base3>, kCounted, kMasked, kMlal<Sign>},
    .dense_matmul = dense_matmul,
    .dense_scratch_bytes = dense_scratch_bytes,
    .dense_row = dense_row,
    .rms_norm = rms_norm<Floats>,
    .quantize_q8 = quantize_q8,
    .silu_mul = silu_mul<Floats>,
    .relu2_mul = relu2_mul<Floats>,
    .gelu_mul = gelu_mul<Floats>,
    .add = add<Floats>,
    .rope = rope<Floats>,
    .attention = attention<Floats, HalfLines, ByteLines>,
    .to_half = to_half,
    .peak = {peak_ternary, peak_dense},
};

}  // namespace tern
