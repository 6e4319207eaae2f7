// Blocks of split heads on AVX2, for x86_split.inl. Included inside the unnamed namespace of an instruction-set file.

// Running sums of a row, a lane for each group of a block: groups 0-7 and 8-15.
struct SplitSum {
  __m256 lanes[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
};

inline __m256i load_32(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}

// d of up to 16 blocks as floats, times units, read eight at a time: rows end on multiples of 64 bytes, their halves begin on
// multiples of 16.
inline void load_d(const uint8_t* halves, const float* units, int32_t count, float* d) {
  for (int32_t i = 0; i < count; i += 8) {
    const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(halves + 2 * i));
    _mm256_storeu_ps(d + i, _mm256_mul_ps(_mm256_cvtph_ps(eight), _mm256_loadu_ps(units + i)));
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

// The coarse codes of groups 8 h to 8 h + 7 of a block.
struct CoarseFields {
  __m256i field[kSplitFields];
};
inline CoarseFields coarse_fields(const uint8_t* codes, int h) {
  const __m256i nibble = _mm256_set1_epi8(15);
  const __m256i a = load_32(codes + 32 * h);
  const __m256i b = load_32(codes + 64 + 32 * h);
  return {{_mm256_and_si256(a, nibble), _mm256_and_si256(_mm256_srli_epi16(a, 4), nibble),
           _mm256_and_si256(b, nibble), _mm256_and_si256(_mm256_srli_epi16(b, 4), nibble)}};
}

// The codes 0..63 of groups 8 h to 8 h + 7 of a block. Fields of both planes are shifted to their places in int16s; masks leave
// those of their own byte.
struct SplitFields {
  __m256i field[kSplitFields];
};
inline SplitFields split_fields(const uint8_t* coarse, const uint8_t* fine, int h) {
  const __m256i upper = _mm256_set1_epi8(0x3C);
  const __m256i lower = _mm256_set1_epi8(3);
  const __m256i a = load_32(coarse + 32 * h);
  const __m256i b = load_32(coarse + 64 + 32 * h);
  const __m256i c = load_32(fine + 32 * h);
  const auto join = [&](__m256i four, __m256i two) {
    return _mm256_or_si256(_mm256_and_si256(four, upper), _mm256_and_si256(two, lower));
  };
  return {{join(_mm256_slli_epi16(a, 2), c), join(_mm256_srli_epi16(a, 2), _mm256_srli_epi16(c, 2)),
           join(_mm256_slli_epi16(b, 2), _mm256_srli_epi16(c, 4)),
           join(_mm256_srli_epi16(b, 2), _mm256_srli_epi16(c, 6))}};
}

// sum + d * (group sums * scales), no fused multiply-add: what every table computes. A group sum is 128 sum(code * high) +
// sum(code * low) + offset. A pair of products with high is at most 2 * 63 * 127 in an int16, two fields of them 32004; with low at
// most 2 * 63 * 64, four fields 32256; madd joins pairs and multiplies.
inline void add_split_block(SplitSum& sum, const uint8_t* coarse, const uint8_t* fine,
                            const SplitScales& scales, const float* d, const SplitInputBlock& x) {
  const __m256i weight = _mm256_set1_epi16(128);
  for (int h = 0; h < 2; ++h) {
    const SplitFields codes = split_fields(coarse, fine, h);
    const auto product = [&](const int8_t(*q)[64], int f) {
      return _mm256_maddubs_epi16(codes.field[f], load_32(q[f] + 32 * h));
    };
    const __m256i high_01 = _mm256_add_epi16(product(x.high, 0), product(x.high, 1));
    const __m256i high_23 = _mm256_add_epi16(product(x.high, 2), product(x.high, 3));
    const __m256i low = _mm256_add_epi16(_mm256_add_epi16(product(x.low, 0), product(x.low, 1)),
                                         _mm256_add_epi16(product(x.low, 2), product(x.low, 3)));
    const __m256i high =
        _mm256_add_epi32(_mm256_madd_epi16(high_01, weight), _mm256_madd_epi16(high_23, weight));
    const __m256i sums =
        _mm256_add_epi32(_mm256_add_epi32(high, _mm256_madd_epi16(low, _mm256_set1_epi16(1))),
                         load_32(x.offset + 8 * h));
    const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), scales.lanes[h]);
    sum.lanes[h] = _mm256_add_ps(sum.lanes[h], _mm256_mul_ps(scaled, _mm256_broadcast_ss(d)));
  }
}

// sum + d * what screening makes of the block: int16s of pairs of products, at most 4 * 2 * 15 * 128, on their share of the offset,
// below 2^13; then both of a group times 256 scale, 2 * 23552 * 2^15 < 2^31.
using ScreenSum = __m256;
inline ScreenSum no_screen_sum() {
  return _mm256_setzero_ps();
}
inline ScreenSum screened_block(ScreenSum sum, const uint8_t* codes, const uint8_t* scales,
                                const float* d, const SplitInputBlock& x) {
  const __m256i bytes =
      _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(scales)));
  // Scale 8 h + g in the upper bytes of both int16s of lane g.
  const __m256i places[2] = {
      _mm256_setr_epi8(-1, 0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, -1, 4, -1, 4, -1, 5,
                       -1, 5, -1, 6, -1, 6, -1, 7, -1, 7),
      _mm256_setr_epi8(-1, 8, -1, 8, -1, 9, -1, 9, -1, 10, -1, 10, -1, 11, -1, 11, -1, 12, -1, 12,
                       -1, 13, -1, 13, -1, 14, -1, 14, -1, 15, -1, 15)};
  for (int h = 0; h < 2; ++h) {
    const CoarseFields codes_u8 = coarse_fields(codes, h);
    __m256i sums_i16 = load_32(x.screen_offset[8 * h]);
    for (int f = 0; f < kSplitFields; ++f) {
      sums_i16 = _mm256_add_epi16(
          sums_i16, _mm256_maddubs_epi16(codes_u8.field[f], load_32(x.high[f] + 32 * h)));
    }
    const __m256i scaled = _mm256_madd_epi16(sums_i16, _mm256_shuffle_epi8(bytes, places[h]));
    sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(scaled), _mm256_broadcast_ss(d), sum);
  }
  return sum;
}

inline float joined(__m256 eight) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
// The lanes joined in the order of the definition: one half onto the other, four times.
inline float joined(const SplitSum& sum) {
  return joined(_mm256_add_ps(sum.lanes[0], sum.lanes[1]));
}

// Scales were 256 times themselves.
inline float screened(ScreenSum lanes) {
  return 512.0F / 256.0F * joined(lanes);
}
