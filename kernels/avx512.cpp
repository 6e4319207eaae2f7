// AVX-512 F, BW, VL, DQ with VNNI and VBMI: Intel servers since Ice Lake, AMD since Zen 4. Everything but the table is in an
// unnamed namespace and only small headers are included (DESIGN.md says why).

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <xsimd/xsimd.hpp>

#include "kernels/cpu_feature.h"
#include "kernels/tables.h"

namespace tern {
namespace {

#include "kernels/x86_zmm.inl"

#include "kernels/x86_bytes.inl"

#include "kernels/dense_decode.inl"

#include "kernels/dense.inl"
#include "kernels/x86_ternary.inl"

#include "kernels/x86_vnni.inl"

#include "kernels/x86_bitplanes.inl"

#include "kernels/avx512_bitplanes.inl"

#include "kernels/avx512_split.inl"
#include "kernels/x86_split.inl"

#include "kernels/batch.inl"

#include "kernels/attention.inl"

using Floats = xsimd::batch<float, xsimd::avx512bw>;

struct HalfLines {
  using Number = Half;
  static Floats load(const Half* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
};
struct ByteLines {
  using Number = int8_t;
  static Floats load(const int8_t* p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
  }
};

#include "kernels/x86_peak.inl"

}  // namespace

const KernelTable kAvx512Table = {
    .name = "avx512",
    .needs = kCpuAvx2 | kCpuAvx512 | kCpuAvx512Vnni | kCpuAvx512Vbmi | kCpuAvx512Bitalg,
    .ternary = {kTernary<Vnni<VnniTwoBit, kAllTokens>>, kTernary<Vnni<VnniBase3, 24>>,
                kBitplanesKernel<Popcount, UnpackedPlanes>,
                kBitplanesKernel<Masked, UnpackedPlanes>, kTernary<Vnni<VnniSign, kAllTokens>>},
    .streamed = TernaryKind::kBase3,
    .split = {split_screen, split_rows, split_matmul},
    .dense_matmul = dense_matmul,
    .dense_scratch_bytes = dense_scratch_bytes,
    .dense_row = dense_row,
    .attention = attention<Floats, HalfLines, ByteLines>,
    .peak = {peak_ternary, peak_dense},
};

}  // namespace tern
