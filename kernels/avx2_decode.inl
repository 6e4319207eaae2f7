// Dense weights to floats on AVX2, in registers or in memory. Included inside the unnamed namespace of avx2.cpp.

template <class T>
inline T load_bytes(const uint8_t* from) {
  T value;
  __builtin_memcpy(&value, from, sizeof(value));
  return value;
}

inline float half_at(const uint8_t* from) {
  return _cvtsh_ss(load_bytes<uint16_t>(from));
}

// ---- Numbers: eight weights from 8 * kBytes bytes, or one.

struct F32 {
  static constexpr int32_t kBytes = 4;
  static __m256 load8(const uint8_t* p) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  }
  static float load1(const uint8_t* p) { return load_bytes<float>(p); }
};

struct F16 {
  static constexpr int32_t kBytes = 2;
  static __m256 load8(const uint8_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static float load1(const uint8_t* p) { return half_at(p); }
};

struct BF16 {
  static constexpr int32_t kBytes = 2;
  static __m256 load8(const uint8_t* p) {
    const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(eight), 16));
  }
  static float load1(const uint8_t* p) {
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(load_bytes<uint16_t>(p) << 16)));
  }
};

// The last n < 8 weights of a row, then zeros.
template <class Number>
inline __m256 load_tail(const uint8_t* p, int32_t n) {
  alignas(32) float padded[8] = {};
  for (int32_t i = 0; i < n; ++i) {
    padded[i] = Number::load1(p + i * Number::kBytes);
  }
  return _mm256_load_ps(padded);
}

inline __m256 load_activations(const float* x, int32_t n) {
  if (n >= 8) {
    return _mm256_loadu_ps(x);
  }
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_maskload_ps(x, _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane));
}

// ---- Blocks: 32 weights at a time, in registers. The layouts are described in portable.cpp. Each format has
//   kWeights, kBytes    of a block
//   Scales, scales      what is worked out once a block
//   load32<part>        weights 32 part .. 32 part + 31 of the block, as floats
// A scale times an integer is exact in a float, and so is Q4_K's fused product and difference up to its one rounding.

inline __m256i load_32_bytes(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

inline __m256 floats_of_int8(__m128i low_eight) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(low_eight));
}

// 32 small integers as floats.
inline void to_floats(__m256i int8s, __m256* out) {
  const __m128i low = _mm256_castsi256_si128(int8s);
  const __m128i high = _mm256_extracti128_si256(int8s, 1);
  out[0] = floats_of_int8(low);
  out[1] = floats_of_int8(_mm_unpackhi_epi64(low, low));
  out[2] = floats_of_int8(high);
  out[3] = floats_of_int8(_mm_unpackhi_epi64(high, high));
}

inline void scale_all(__m256 scale, __m256* w) {
  for (int i = 0; i < 4; ++i) {
    w[i] = _mm256_mul_ps(w[i], scale);
  }
}

// The low or high nibbles of 32 bytes.
template <bool kHigh>
inline __m256i nibbles(__m256i bytes) {
  return _mm256_and_si256(kHigh ? _mm256_srli_epi16(bytes, 4) : bytes, _mm256_set1_epi8(15));
}

// Plain numbers as blocks of 32; what is left of a row goes through load_tail.
template <class AnyNumber>
struct Numbers {
  using Number = AnyNumber;
  static constexpr int32_t kWeights = 32;
  static constexpr int32_t kBytes = 32 * Number::kBytes;

  struct Scales {};
  static Scales scales(const uint8_t* /*block*/) { return {}; }

  template <int kPart>
  static void load32(const uint8_t* block, const Scales& /*s*/, __m256* w) {
    for (int i = 0; i < 4; ++i) {
      w[i] = Number::load8(block + 8 * i * Number::kBytes);
    }
  }
};

struct Q8_0 {
  static constexpr int32_t kWeights = 32;
  static constexpr int32_t kBytes = 34;

  struct Scales {
    __m256 d;
  };
  static Scales scales(const uint8_t* block) { return {_mm256_set1_ps(half_at(block))}; }

  template <int kPart>
  static void load32(const uint8_t* block, const Scales& s, __m256* w) {
    to_floats(load_32_bytes(block + 2), w);
    scale_all(s.d, w);
  }
};

struct Q4_0 {
  static constexpr int32_t kWeights = 32;
  static constexpr int32_t kBytes = 18;
  using Scales = Q8_0::Scales;
  static Scales scales(const uint8_t* block) { return Q8_0::scales(block); }

  template <int kPart>
  static void load32(const uint8_t* block, const Scales& s, __m256* w) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 2));
    const __m256i q = nibbles<false>(_mm256_set_m128i(_mm_srli_epi16(bytes, 4), bytes));
    to_floats(_mm256_sub_epi8(q, _mm256_set1_epi8(8)), w);
    scale_all(s.d, w);
  }
};

struct Q4K {
  static constexpr int32_t kWeights = 256;
  static constexpr int32_t kBytes = 144;

  struct Scales {
    float scale[8];
    float min[8];
  };
  static Scales scales(const uint8_t* block) {
    // Eight 6-bit scales and minima, four to a word.
    constexpr uint32_t kSixBits = 0x3F3F3F3F;
    constexpr uint32_t kFourBits = 0x0F0F0F0F;
    constexpr uint32_t kTopBits = 0x30303030;
    const auto a = load_bytes<uint32_t>(block + 4);
    const auto b = load_bytes<uint32_t>(block + 8);
    const auto c = load_bytes<uint32_t>(block + 12);
    const uint64_t high_scales = (c & kFourBits) | ((a >> 2) & kTopBits);
    const uint64_t high_mins = ((c >> 4) & kFourBits) | ((b >> 2) & kTopBits);
    Scales s;
    store8((a & kSixBits) | (high_scales << 32), half_at(block), s.scale);
    store8((b & kSixBits) | (high_mins << 32), half_at(block + 2), s.min);
    return s;
  }
  static void store8(uint64_t bytes, float d, float* out) {
    const __m256 eight = floats_of_int8(_mm_cvtsi64_si128(static_cast<int64_t>(bytes)));
    _mm256_storeu_ps(out, _mm256_mul_ps(eight, _mm256_set1_ps(d)));
  }

  template <int kPart>
  static void load32(const uint8_t* block, const Scales& s, __m256* w) {
    to_floats(nibbles<kPart % 2 == 1>(load_32_bytes(block + 16 + 32 * (kPart / 2))), w);
    const __m256 scale = _mm256_set1_ps(s.scale[kPart]);
    const __m256 min = _mm256_set1_ps(s.min[kPart]);
    for (int i = 0; i < 4; ++i) {
      w[i] = _mm256_fmsub_ps(scale, w[i], min);
    }
  }
};

struct Q6K {
  static constexpr int32_t kWeights = 256;
  static constexpr int32_t kBytes = 210;

  struct Scales {
    float scale[16];
  };
  static Scales scales(const uint8_t* block) {
    Scales s;
    const __m256 d = _mm256_set1_ps(half_at(block + 208));
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 192));
    _mm256_storeu_ps(s.scale, _mm256_mul_ps(floats_of_int8(bytes), d));
    const __m128i upper = _mm_unpackhi_epi64(bytes, bytes);
    _mm256_storeu_ps(s.scale + 8, _mm256_mul_ps(floats_of_int8(upper), d));
    return s;
  }

  template <int kPart>
  static void load32(const uint8_t* block, const Scales& s, __m256* w) {
    constexpr int kHalf = kPart / 4;
    constexpr int kQuarter = kPart % 4;
    const __m256i low =
        nibbles<kQuarter / 2 == 1>(load_32_bytes(block + 64 * kHalf + 32 * (kQuarter % 2)));
    // The bit pair 2 kQuarter of each byte, moved to bits 4 and 5; what crosses bytes is masked off.
    const __m256i packed = load_32_bytes(block + 128 + 32 * kHalf);
    const __m256i moved = kQuarter < 2 ? _mm256_slli_epi16(packed, 4 - 2 * (kQuarter % 2))
                                       : _mm256_srli_epi16(packed, 2 * (kQuarter % 2));
    const __m256i high = _mm256_and_si256(moved, _mm256_set1_epi8(0x30));
    to_floats(_mm256_sub_epi8(_mm256_or_si256(low, high), _mm256_set1_epi8(32)), w);
    const __m256 first = _mm256_set1_ps(s.scale[2 * kPart]);
    const __m256 second = _mm256_set1_ps(s.scale[2 * kPart + 1]);
    w[0] = _mm256_mul_ps(w[0], first);
    w[1] = _mm256_mul_ps(w[1], first);
    w[2] = _mm256_mul_ps(w[2], second);
    w[3] = _mm256_mul_ps(w[3], second);
  }
};

// ---- To floats in memory

template <class Format, int kPart = 0>
inline void decode_parts(const uint8_t* block, const typename Format::Scales& scales, float* out) {
  __m256 w[4];
  Format::template load32<kPart>(block, scales, w);
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(out + 32 * kPart + 8 * i, w[i]);
  }
  if constexpr (32 * (kPart + 1) < Format::kWeights) {
    decode_parts<Format, kPart + 1>(block, scales, out);
  }
}

template <class Format>
void decode_blocks(const uint8_t* in, int32_t n, float* out) {
  for (int32_t i = 0; i < n; i += Format::kWeights, in += Format::kBytes) {
    decode_parts<Format>(in, Format::scales(in), out + i);
  }
}

template <class Number>
void decode_numbers(const uint8_t* in, int32_t n, float* out) {
  int32_t i = 0;
  for (; i + 8 <= n; i += 8) {
    _mm256_storeu_ps(out + i, Number::load8(in + i * Number::kBytes));
  }
  for (; i < n; ++i) {
    out[i] = Number::load1(in + i * Number::kBytes);
  }
}

using DecodeFunction = void (*)(const uint8_t* in, int32_t n, float* out);
constexpr DecodeFunction kDecode[kDenseTypeCount] = {
    decode_numbers<F32>, decode_numbers<F16>, decode_numbers<BF16>, decode_blocks<Q8_0>,
    decode_blocks<Q4_0>, decode_blocks<Q4K>,  decode_blocks<Q6K>};
