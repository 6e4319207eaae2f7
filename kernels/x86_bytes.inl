// 32 bytes in a register, as dense_decode.inl takes weights out of their blocks. Included inside the unnamed namespace of an
// instruction-set file; needs AVX2 and F16C.

struct Bytes {
  using Reg = __m256i;

  static Reg load(const uint8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  // The low nibbles of 16 bytes, then the high ones.
  static Reg nibbles_of_16(const uint8_t* p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(bytes, 4), bytes),
                            _mm256_set1_epi8(15));
  }
  // The bits kMask << kFrom of each byte, moved to kMask << kTo; what crosses bytes is masked off.
  template <int kFrom, int kTo, int kMask>
  static Reg move_bits(Reg v) {
    const __m256i moved =
        kFrom < kTo ? _mm256_slli_epi16(v, kTo - kFrom) : _mm256_srli_epi16(v, kFrom - kTo);
    return _mm256_and_si256(moved, _mm256_set1_epi8(kMask << kTo));
  }
  // Byte i is `value` where bit i of the 32 at `p` is set, else 0.
  static Reg spread_bits(const uint8_t* p, int8_t value) {
    int32_t word = 0;
    __builtin_memcpy(&word, p, sizeof(word));
    const __m256i place = _mm256_setr_epi64x(0x0000000000000000, 0x0101010101010101,
                                             0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
    const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(word), place);
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
    return _mm256_and_si256(set, _mm256_set1_epi8(value));
  }
  // table[index], indices 0..15.
  static Reg look_up(const int8_t* table, Reg index) {
    const __m128i sixteen = _mm_load_si128(reinterpret_cast<const __m128i*>(table));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(sixteen), index);
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
