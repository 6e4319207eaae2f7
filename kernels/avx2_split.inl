// Blocks of split heads on AVX2, for x86_split.inl. Included inside the unnamed namespace of an instruction-set file.

// Running sums of a row, a lane for each group of a block: groups 0-7 and 8-15.
struct SplitSum {
  __m256 lanes[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
};

inline __m256i load_32(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}

// d of up to 16 blocks as floats.
inline void load_d(const uint8_t* halves, int32_t count, float* d) {
  for (int32_t i = 0; i < count; ++i) {
    d[i] = half_at(halves + 2 * i);
  }
}

// What the scales of a block are as floats.
struct SplitScales {
  __m256 lanes[2];
};
inline SplitScales load_scales(const uint8_t* scales) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(scales));
  const __m128i upper = _mm_unpackhi_epi64(bytes, bytes);
  return {{_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
           _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(upper))}};
}

// sum + d * (group sums * scales) of the eight groups of half h, no fused multiply-add: what every table computes. A group sum is
// factor * (256 sum(code * high) + sum(code * low)) + offset. A pair of products in an int16 is at most 2 * 15 * 128 (or, fine
// codes left in bits 2 and 3, 2 * 12 * 128), four fields of them 15360; madd joins pairs and multiplies.
template <int kFactor>
inline void add_groups(SplitSum& sum, int h, const __m256i* fields, const SplitInputBlock& x,
                       const int32_t* offset, const SplitScales& scales, const float* d) {
  __m256i high = _mm256_setzero_si256();
  __m256i low = _mm256_setzero_si256();
  for (int f = 0; f < kSplitFields; ++f) {
    high = _mm256_add_epi16(high, _mm256_maddubs_epi16(fields[f], load_32(x.high[f] + 32 * h)));
    low = _mm256_add_epi16(low, _mm256_maddubs_epi16(fields[f], load_32(x.low[f] + 32 * h)));
  }
  const __m256i wide_high = _mm256_madd_epi16(high, _mm256_set1_epi16(256 * kFactor));
  const __m256i wide_low = _mm256_madd_epi16(low, _mm256_set1_epi16(kFactor));
  const __m256i sums =
      _mm256_add_epi32(_mm256_add_epi32(wide_high, wide_low), load_32(offset + 8 * h));
  const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), scales.lanes[h]);
  sum.lanes[h] = _mm256_add_ps(sum.lanes[h], _mm256_mul_ps(scaled, _mm256_broadcast_ss(d)));
}

inline void add_coarse_block(SplitSum& sum, const uint8_t* codes, const SplitScales& scales,
                             const float* d, const SplitInputBlock& x) {
  const __m256i nibble = _mm256_set1_epi8(15);
  for (int h = 0; h < 2; ++h) {
    const __m256i a = load_32(codes + 32 * h);
    const __m256i b = load_32(codes + 64 + 32 * h);
    const __m256i fields[kSplitFields] = {
        _mm256_and_si256(a, nibble), _mm256_and_si256(_mm256_srli_epi16(a, 4), nibble),
        _mm256_and_si256(b, nibble), _mm256_and_si256(_mm256_srli_epi16(b, 4), nibble)};
    add_groups<16>(sum, h, fields, x, x.coarse_offset, scales, d);
  }
}

// Codes are moved to bits 2 and 3: 4 times themselves.
inline void add_fine_block(SplitSum& sum, const uint8_t* codes, const SplitScales& scales,
                           const float* d, const SplitInputBlock& x) {
  const __m256i two_bits = _mm256_set1_epi8(0x0C);
  for (int h = 0; h < 2; ++h) {
    const __m256i a = load_32(codes + 32 * h);
    const __m256i fields[kSplitFields] = {_mm256_and_si256(_mm256_slli_epi16(a, 2), two_bits),
                                          _mm256_and_si256(a, two_bits),
                                          _mm256_and_si256(_mm256_srli_epi16(a, 2), two_bits),
                                          _mm256_and_si256(_mm256_srli_epi16(a, 4), two_bits)};
    add_groups<1>(sum, h, fields, x, x.fine_offset, scales, d);
  }
}

// The lanes joined in the order of the definition: one half onto the other, four times.
inline float joined(const SplitSum& sum) {
  const __m256 eight = _mm256_add_ps(sum.lanes[0], sum.lanes[1]);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
