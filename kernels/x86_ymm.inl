// Vectors of eight floats or int32, as the x86_*.inl files use them. Included inside the unnamed namespace of an
// instruction-set file; needs AVX2, FMA and F16C.

struct V {
  using Vec = __m256;
  using Ints = __m256i;
  static constexpr int32_t kLanes = 8;
  static constexpr int32_t kTokenTile = 3;  // 4 x 3 sums, 3 activations and 1 weight: 16 registers

  static Vec zero() { return _mm256_setzero_ps(); }
  static Vec all(float x) { return _mm256_set1_ps(x); }
  static Vec load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
  static Vec multiply(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
  static Vec fmadd(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
  static Vec fmsub(Vec a, Vec b, Vec c) { return _mm256_fmsub_ps(a, b, c); }

  static Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }

  static Ints all_ints(int32_t x) { return _mm256_set1_epi32(x); }
  static Ints load_ints(const void* p) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Ints add(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
  static Ints subtract(Ints a, Ints b) { return _mm256_sub_epi32(a, b); }
  static Ints add_bytes(Ints a, Ints b) { return _mm256_add_epi8(a, b); }
  static Ints bit_and(Ints a, Ints b) { return _mm256_and_si256(a, b); }
  template <int kBits>
  static Ints shift_right(Ints v) {
    return _mm256_srai_epi32(v, kBits);
  }
  // 1 in every byte above `limit`, else 0; unsigned.
  static Ints exceeds(Ints v, uint8_t limit) {
    return _mm256_min_epu8(_mm256_subs_epu8(v, _mm256_set1_epi8(static_cast<char>(limit))),
                           _mm256_set1_epi8(1));
  }
  static Vec to_floats(Ints v) { return _mm256_cvtepi32_ps(v); }

  // The first n < kLanes floats at `p`, then zeros.
  static Vec load_first(const float* p, int32_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane));
  }
  static Vec of_halves(const uint8_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Vec of_bfloats(const uint8_t* p) {
    const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(eight), 16));
  }
  // 32 small integers as four vectors.
  static void of_int8s(__m256i int8s, Vec* out) {
    const __m128i low = _mm256_castsi256_si128(int8s);
    const __m128i high = _mm256_extracti128_si256(int8s, 1);
    out[0] = of_eight(low);
    out[1] = of_eight(_mm_unpackhi_epi64(low, low));
    out[2] = of_eight(high);
    out[3] = of_eight(_mm_unpackhi_epi64(high, high));
  }
  // Sums of the lanes of four vectors, joined pairwise.
  static __m128 lane_sums(const Vec* v) {
    const __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    return _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
  }

 private:
  static Vec of_eight(__m128i int8s) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(int8s)); }
};
