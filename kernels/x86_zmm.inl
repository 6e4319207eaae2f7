// Vectors of sixteen floats or int32, as the x86_*.inl files use them. Included inside the unnamed namespace of an
// instruction-set file; needs AVX-512 F, BW, VL and DQ.

struct V {
  using Vec = __m512;
  using Ints = __m512i;
  static constexpr int32_t kLanes = 16;
  static constexpr int32_t kTokenTile =
      6;  // 4 x 6 sums, 6 activations and 1 weight: 31 of 32 registers

  static Vec zero() { return _mm512_setzero_ps(); }
  static Vec all(float x) { return _mm512_set1_ps(x); }
  static Vec load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
  static Vec multiply(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
  static Vec fmadd(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
  static Vec fmsub(Vec a, Vec b, Vec c) { return _mm512_fmsub_ps(a, b, c); }

  static Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }

  static Ints all_ints(int32_t x) { return _mm512_set1_epi32(x); }
  static Ints load_ints(const void* p) { return _mm512_load_si512(p); }
  static Ints add(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
  static Ints subtract(Ints a, Ints b) { return _mm512_sub_epi32(a, b); }
  static Ints add_bytes(Ints a, Ints b) { return _mm512_add_epi8(a, b); }
  static Ints bit_and(Ints a, Ints b) { return _mm512_and_si512(a, b); }
  template <int kBits>
  static Ints shift_right(Ints v) {
    return _mm512_srai_epi32(v, kBits);
  }
  // 1 in every byte above `limit`, else 0; unsigned.
  static Ints exceeds(Ints v, uint8_t limit) {
    return _mm512_min_epu8(_mm512_subs_epu8(v, _mm512_set1_epi8(static_cast<char>(limit))),
                           _mm512_set1_epi8(1));
  }
  static Vec to_floats(Ints v) { return _mm512_cvtepi32_ps(v); }

  // The first n < kLanes floats at `p`, then zeros.
  static Vec load_first(const float* p, int32_t n) {
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1U << n) - 1), p);
  }
  static Vec of_halves(const uint8_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Vec of_bfloats(const uint8_t* p) {
    const __m256i sixteen = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(sixteen), 16));
  }
  // 32 small integers as two vectors.
  static void of_int8s(__m256i int8s, Vec* out) {
    out[0] = of_sixteen(_mm256_castsi256_si128(int8s));
    out[1] = of_sixteen(_mm256_extracti128_si256(int8s, 1));
  }
  // Sums of the lanes of four vectors: halves first, then pairwise.
  static __m128 lane_sums(const Vec* v) {
    const __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(halves(v[0]), halves(v[1])),
                                        _mm256_hadd_ps(halves(v[2]), halves(v[3])));
    return _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
  }

 private:
  static Vec of_sixteen(__m128i int8s) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(int8s)); }
  static __m256 halves(Vec v) {
    return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  }
};
