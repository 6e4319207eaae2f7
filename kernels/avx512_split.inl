// Blocks of split heads on AVX-512 VNNI, for x86_split.inl. Included inside the unnamed namespace of an instruction-set file.

// Running sums of a row, a lane for each group of a block: a group's scale meets its sum without horizontal additions.
struct SplitSum {
  __m512 lanes = _mm512_setzero_ps();
};

inline __m512i load_64(const void* p) {
  return _mm512_loadu_si512(p);
}

// d of up to 16 blocks as floats, times units.
inline void load_d(const uint8_t* halves, const float* units, int32_t count, float* d) {
  const __m256i some = _mm256_maskz_loadu_epi16(static_cast<__mmask16>((1U << count) - 1), halves);
  _mm512_storeu_ps(d, _mm512_mul_ps(_mm512_cvtph_ps(some), _mm512_loadu_ps(units)));
}

// What the scales of a block are as floats.
struct SplitScales {
  __m512 lanes;
};
inline SplitScales load_scales(const uint8_t* scales) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(scales));
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))};
}

// sum + d * (group sums * scales), no fused multiply-add: what every table computes. A group sum is 128 sum(code * high)
// + sum(code * low) + offset. Fields of both planes are shifted to their places in int16s; a mask leaves those of their own byte.
inline void add_split_block(SplitSum& sum, const uint8_t* coarse, const uint8_t* fine,
                            const SplitScales& scales, const float* d, const SplitInputBlock& x) {
  const __m512i upper = _mm512_set1_epi8(0x3C);
  const __m512i lower = _mm512_set1_epi8(3);
  const __m512i a = load_64(coarse);
  const __m512i b = load_64(coarse + 64);
  const __m512i c = load_64(fine);
  const auto join = [&](__m512i four, __m512i two) {
    constexpr int kOrAnd = 0xF8;  // first | (second & third)
    return _mm512_ternarylogic_epi64(_mm512_and_si512(two, lower), four, upper, kOrAnd);
  };
  const __m512i codes[kSplitFields] = {join(_mm512_slli_epi16(a, 2), c),
                                       join(_mm512_srli_epi16(a, 2), _mm512_srli_epi16(c, 2)),
                                       join(_mm512_slli_epi16(b, 2), _mm512_srli_epi16(c, 4)),
                                       join(_mm512_srli_epi16(b, 2), _mm512_srli_epi16(c, 6))};
  __m512i high = _mm512_setzero_si512();
  __m512i low = load_64(x.offset);
  for (int f = 0; f < kSplitFields; ++f) {
    high = _mm512_dpbusd_epi32(high, codes[f], load_64(x.high[f]));
    low = _mm512_dpbusd_epi32(low, codes[f], load_64(x.low[f]));
  }
  const __m512i sums = _mm512_add_epi32(_mm512_slli_epi32(high, 7), low);
  const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), scales.lanes);
  sum.lanes = _mm512_add_ps(sum.lanes, _mm512_mul_ps(scaled, _mm512_set1_ps(*d)));
}

// sum + d * what screening makes of the block. Sums of a group are below 2^16 and times the scale below 2^23: exact in a float.
using ScreenSum = __m512;
inline ScreenSum no_screen_sum() {
  return _mm512_setzero_ps();
}
inline ScreenSum screened_block(ScreenSum sum, const uint8_t* codes, const uint8_t* scales,
                                const float* d, const SplitInputBlock& x) {
  const __m512i nibble = _mm512_set1_epi8(15);
  const __m512i a = load_64(codes);
  const __m512i b = load_64(codes + 64);
  __m512i sums = _mm512_madd_epi16(load_64(x.screen_offset), _mm512_set1_epi16(1));
  sums = _mm512_dpbusd_epi32(sums, _mm512_and_si512(a, nibble), load_64(x.high[0]));
  sums = _mm512_dpbusd_epi32(sums, _mm512_and_si512(_mm512_srli_epi16(a, 4), nibble),
                             load_64(x.high[1]));
  sums = _mm512_dpbusd_epi32(sums, _mm512_and_si512(b, nibble), load_64(x.high[2]));
  sums = _mm512_dpbusd_epi32(sums, _mm512_and_si512(_mm512_srli_epi16(b, 4), nibble),
                             load_64(x.high[3]));
  const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), load_scales(scales).lanes);
  return _mm512_fmadd_ps(scaled, _mm512_set1_ps(*d), sum);
}

inline float joined(__m512 lanes) {
  const __m256 eight =
      _mm256_add_ps(_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps(lanes, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
// The lanes joined in the order of the definition: one half onto the other, four times.
inline float joined(const SplitSum& sum) {
  return joined(sum.lanes);
}

inline float screened(ScreenSum lanes) {
  return 512.0F * joined(lanes);
}
