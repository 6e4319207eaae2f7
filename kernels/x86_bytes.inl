// 32 bytes in a register, as dense_decode.inl takes weights out of their blocks. Included inside the unnamed namespace of an
// instruction-set file; needs AVX2 and F16C.

struct Bytes {
  using Reg = __m256i;

  static Reg load(const uint8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Reg low_nibbles(Reg v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
  static Reg high_nibbles(Reg v) { return low_nibbles(_mm256_srli_epi16(v, 4)); }
  // The low nibbles of 16 bytes, then the high ones.
  static Reg nibbles_of_16(const uint8_t* p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return low_nibbles(_mm256_set_m128i(_mm_srli_epi16(bytes, 4), bytes));
  }
  // The pair of bits 2 kPair, 2 kPair + 1 of each byte, moved to bits 4 and 5; what crosses bytes is masked off.
  template <int kPair>
  static Reg pair_as_top_bits(Reg v) {
    const __m256i moved = kPair < 2 ? _mm256_slli_epi16(v, 4 - 2 * (kPair % 2))
                                    : _mm256_srli_epi16(v, 2 * (kPair % 2));
    return _mm256_and_si256(moved, _mm256_set1_epi8(0x30));
  }
  static Reg bit_or(Reg a, Reg b) { return _mm256_or_si256(a, b); }
  static Reg subtract(Reg v, int8_t x) { return _mm256_sub_epi8(v, _mm256_set1_epi8(x)); }

  // Eight int8, the bytes of a word, times d.
  static void scale8(uint64_t int8s, float d, float* out) {
    const __m128i bytes = _mm_cvtsi64_si128(static_cast<int64_t>(int8s));
    const __m256 eight = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
    _mm256_storeu_ps(out, _mm256_mul_ps(eight, _mm256_set1_ps(d)));
  }
  static float half(uint16_t bits) { return _cvtsh_ss(bits); }
};
