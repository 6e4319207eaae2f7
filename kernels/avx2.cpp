// AVX2 with FMA and F16C: x86-64 processors since about 2013. Compiled with its own flags, so everything but the table is in
// an unnamed namespace and only small headers are included (DESIGN.md says why).

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <xsimd/xsimd.hpp>

#include "kernels/cpu_feature.h"
#include "kernels/tables.h"

namespace tern {
namespace {

#include "kernels/x86_ymm.inl"

#include "kernels/x86_bytes.inl"

#include "kernels/dense_decode.inl"

#include "kernels/dense.inl"

#include "kernels/avx2_split.inl"
#include "kernels/x86_split.inl"

#include "kernels/x86_ternary.inl"

#include "kernels/avx2_ternary.inl"

#include "kernels/x86_bitplanes.inl"

#include "kernels/avx2_bitplanes.inl"

#include "kernels/batch.inl"

#include "kernels/attention.inl"
#include "kernels/float_ops.inl"

using Floats = xsimd::batch<float, xsimd::fma3<xsimd::avx2>>;

// ---- Activations to int8

// The largest |x[i]|, at least 1e-5. NaN never wins: maxps returns its second operand when either is NaN.
float largest_magnitude(const float* x, int32_t n) {
  const __m256 magnitude_bits = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF));
  __m256 max = _mm256_set1_ps(1e-5F);
  for (int32_t i = 0; i < n; i += 8) {
    const __m256 magnitude = _mm256_and_ps(load_activations(x + i, n - i), magnitude_bits);
    max = _mm256_max_ps(magnitude, max);
  }
  return Batch<Floats>::max(Floats(max));
}

// Eight values to integers -128..127, ties to even; NaN to 0.
__m256i quantize8(__m256 x, __m256 inverse) {
  const __m256 v = _mm256_mul_ps(x, inverse);
  const __m256 clamped =
      _mm256_min_ps(_mm256_max_ps(v, _mm256_set1_ps(-128.0F)), _mm256_set1_ps(127.0F));
  const __m256 is_number = _mm256_cmp_ps(v, v, _CMP_ORD_Q);
  return _mm256_cvtps_epi32(_mm256_and_ps(clamped, is_number));
}

void quantize_q8(const float* x, int32_t n, int32_t stride, int8_t* q, float* scale,
                 int32_t* sums) noexcept {
  const float max = largest_magnitude(x, n);
  *scale = max / 127.0F;
  const __m256 inverse = _mm256_set1_ps(127.0F / max);
  for (int32_t block = 0; block < stride; block += kQ8SumBlock) {
    __m256i sum = _mm256_setzero_si256();
    for (int32_t i = block; i < block + kQ8SumBlock; i += 8) {
      if (i >= n) {
        _mm_storel_epi64(reinterpret_cast<__m128i*>(q + i), _mm_setzero_si128());
        continue;
      }
      const __m256i eight = quantize8(load_activations(x + i, n - i), inverse);
      sum = _mm256_add_epi32(sum, eight);
      const __m128i words =
          _mm_packs_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(q + i), _mm_packs_epi16(words, words));
    }
    const __m128i four =
        _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    sums[block / kQ8SumBlock] = _mm_cvtsi128_si32(two) + _mm_extract_epi32(two, 1);
  }
}

// ---- Attention

struct HalfLines {
  using Number = Half;
  static Floats load(const Half* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
};
struct ByteLines {
  using Number = int8_t;
  static Floats load(const int8_t* p) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
  }
};

void to_half(const float* x, int32_t n, Half* out) noexcept {
  for (int32_t i = 0; i < n; i += 8) {
    const __m128i halves =
        _mm256_cvtps_ph(load_activations(x + i, n - i), _MM_FROUND_TO_NEAREST_INT);
    if (n - i >= 8) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), halves);
      continue;
    }
    alignas(16) Half padded[8];
    _mm_store_si128(reinterpret_cast<__m128i*>(padded), halves);
    for (int32_t j = i; j < n; ++j) {
      out[j] = padded[j - i];
    }
  }
}

#include "kernels/x86_peak.inl"

}  // namespace

const KernelTable kAvx2Table = {
    .name = "avx2",
    .needs = kCpuAvx2,
    .ternary = {kTernary<Maddubs<TwoBit, 2>>, kTernary<Maddubs<Base3, 1>>,
                kBitplanesKernel<Popcount, UnpackedPlanes>,
                kBitplanesKernel<Masked, UnpackedPlanes>, kTernary<Maddubs<Sign, 1>>},
    .split = {split_screen, split_rows, split_matmul},
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
