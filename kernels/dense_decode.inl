// Dense weights to floats, in registers or in memory. Included inside the unnamed namespace of an instruction-set file, after
// its vectors V of floats and its Bytes.

using Vec = V::Vec;
constexpr int32_t kVecLanes = V::kLanes;
constexpr int32_t kParts = 32 / kVecLanes;  // vectors of 32 weights

template <class T>
inline T load_bytes(const uint8_t* from) {
  T value;
  __builtin_memcpy(&value, from, sizeof(value));
  return value;
}

inline float half_at(const uint8_t* from) {
  return Bytes::half(load_bytes<uint16_t>(from));
}

// ---- Numbers: kVecLanes weights from kVecLanes * kBytes bytes, or one.

struct F32 {
  static constexpr int32_t kBytes = 4;
  static Vec load(const uint8_t* p) { return V::load(reinterpret_cast<const float*>(p)); }
  static float load1(const uint8_t* p) { return load_bytes<float>(p); }
};

struct F16 {
  static constexpr int32_t kBytes = 2;
  static Vec load(const uint8_t* p) { return V::of_halves(p); }
  static float load1(const uint8_t* p) { return half_at(p); }
};

struct BF16 {
  static constexpr int32_t kBytes = 2;
  static Vec load(const uint8_t* p) { return V::of_bfloats(p); }
  static float load1(const uint8_t* p) {
    const uint32_t bits = static_cast<uint32_t>(load_bytes<uint16_t>(p)) << 16;
    float value = 0.0F;
    __builtin_memcpy(&value, &bits, sizeof(value));
    return value;
  }
};

// The last n < kVecLanes weights of a row, then zeros.
template <class Number>
inline Vec load_tail(const uint8_t* p, int32_t n) {
  float padded[kVecLanes] = {};
  for (int32_t i = 0; i < n; ++i) {
    padded[i] = Number::load1(p + i * Number::kBytes);
  }
  return V::load(padded);
}

inline Vec load_activations(const float* x, int32_t n) {
  return n >= kVecLanes ? V::load(x) : V::load_first(x, n);
}

// ---- Blocks: 32 weights at a time, in registers. The layouts are described in portable.cpp. Each format has
//   kWeights, kBytes    of a block
//   Scales, scales      what is worked out once a block
//   load32<part>        weights 32 part .. 32 part + 31 of the block, as floats
// A scale times an integer is exact in a float, and so is Q4_K's fused product and difference up to its one rounding.

inline void scale_all(Vec scale, Vec* w) {
  for (int i = 0; i < kParts; ++i) {
    w[i] = V::multiply(w[i], scale);
  }
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
  static void load32(const uint8_t* block, const Scales& /*s*/, Vec* w) {
    for (int i = 0; i < kParts; ++i) {
      w[i] = Number::load(block + kVecLanes * i * Number::kBytes);
    }
  }
};

struct Q8_0 {
  static constexpr int32_t kWeights = 32;
  static constexpr int32_t kBytes = 34;

  struct Scales {
    Vec d;
  };
  static Scales scales(const uint8_t* block) { return {V::all(half_at(block))}; }

  template <int kPart>
  static void load32(const uint8_t* block, const Scales& s, Vec* w) {
    V::of_int8s(Bytes::load(block + 2), w);
    scale_all(s.d, w);
  }
};

struct Q4_0 {
  static constexpr int32_t kWeights = 32;
  static constexpr int32_t kBytes = 18;
  using Scales = Q8_0::Scales;
  static Scales scales(const uint8_t* block) { return Q8_0::scales(block); }

  template <int kPart>
  static void load32(const uint8_t* block, const Scales& s, Vec* w) {
    V::of_int8s(Bytes::subtract(Bytes::nibbles_of_16(block + 2), 8), w);
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
    Bytes::scale8((a & kSixBits) | (high_scales << 32), half_at(block), s.scale);
    Bytes::scale8((b & kSixBits) | (high_mins << 32), half_at(block + 2), s.min);
    return s;
  }

  template <int kPart>
  static void load32(const uint8_t* block, const Scales& s, Vec* w) {
    const Bytes::Reg packed = Bytes::load(block + 16 + 32 * (kPart / 2));
    V::of_int8s(kPart % 2 == 0 ? Bytes::low_nibbles(packed) : Bytes::high_nibbles(packed), w);
    const Vec scale = V::all(s.scale[kPart]);
    const Vec min = V::all(s.min[kPart]);
    for (int i = 0; i < kParts; ++i) {
      w[i] = V::fmsub(scale, w[i], min);
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
    const float d = half_at(block + 208);
    Bytes::scale8(load_bytes<uint64_t>(block + 192), d, s.scale);
    Bytes::scale8(load_bytes<uint64_t>(block + 200), d, s.scale + 8);
    return s;
  }

  template <int kPart>
  static void load32(const uint8_t* block, const Scales& s, Vec* w) {
    constexpr int kHalf = kPart / 4;
    constexpr int kQuarter = kPart % 4;
    const Bytes::Reg packed = Bytes::load(block + 64 * kHalf + 32 * (kQuarter % 2));
    const Bytes::Reg low = kQuarter < 2 ? Bytes::low_nibbles(packed) : Bytes::high_nibbles(packed);
    const Bytes::Reg high =
        Bytes::pair_as_top_bits<kQuarter>(Bytes::load(block + 128 + 32 * kHalf));
    V::of_int8s(Bytes::subtract(Bytes::bit_or(low, high), 32), w);
    for (int i = 0; i < kParts; ++i) {
      w[i] = V::multiply(w[i], V::all(s.scale[2 * kPart + i * kVecLanes / 16]));
    }
  }
};

// ---- To floats in memory

template <class Format, int kPart = 0>
inline void decode_parts(const uint8_t* block, const typename Format::Scales& scales, float* out) {
  Vec w[kParts];
  Format::template load32<kPart>(block, scales, w);
  for (int i = 0; i < kParts; ++i) {
    V::store(out + 32 * kPart + kVecLanes * i, w[i]);
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
  for (; i + kVecLanes <= n; i += kVecLanes) {
    V::store(out + i, Number::load(in + i * Number::kBytes));
  }
  for (; i < n; ++i) {
    out[i] = Number::load1(in + i * Number::kBytes);
  }
}

using DecodeFunction = void (*)(const uint8_t* in, int32_t n, float* out);
constexpr DecodeFunction kDecode[kDenseTypeCount] = {
    decode_numbers<F32>, decode_numbers<F16>, decode_numbers<BF16>, decode_blocks<Q8_0>,
    decode_blocks<Q4_0>, decode_blocks<Q4K>,  decode_blocks<Q6K>};
