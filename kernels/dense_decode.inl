// Dense weights to floats, in registers or in memory. Included inside the unnamed namespace of an instruction-set file, after
// its vectors V of floats and its Bytes.

#include "kernels/dense_levels.inl"

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
// A scale times an integer is exact in a float, and so is a fused product and sum or difference (Q4_1, Q5_1, Q2_K, Q4_K, Q5_K) up
// to its one rounding.

template <int kShift>
inline Bytes::Reg nibbles_at(Bytes::Reg v) {
  return Bytes::move_bits<kShift, 0, 15>(v);
}

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

// Levels looked up by nibbles.
template <const int8_t* kLevels, int32_t kScaleBytes>
struct Levels {
  static constexpr int32_t kWeights = 32;
  static constexpr int32_t kBytes = kScaleBytes + 16;
  using Scales = Q8_0::Scales;
  static Scales scales(const uint8_t* block) {
    return {V::all(kScaleBytes == 1 ? mxfp4_scale(*block) : half_at(block))};
  }

  template <int kPart>
  static void load32(const uint8_t* block, const Scales& s, Vec* w) {
    V::of_int8s(Bytes::look_up(kLevels, Bytes::nibbles_of_16(block + kScaleBytes)), w);
    scale_all(s.d, w);
  }
};
using IQ4NL = Levels<kIq4NlLevels, 2>;
using MXFP4 = Levels<kMxfp4Levels, 1>;

struct Q5_0 {
  static constexpr int32_t kWeights = 32;
  static constexpr int32_t kBytes = 22;
  using Scales = Q8_0::Scales;
  static Scales scales(const uint8_t* block) { return Q8_0::scales(block); }

  template <int kPart>
  static void load32(const uint8_t* block, const Scales& s, Vec* w) {
    const Bytes::Reg code =
        Bytes::bit_or(Bytes::nibbles_of_16(block + 6), Bytes::spread_bits(block + 2, 16));
    V::of_int8s(Bytes::subtract(code, 16), w);
    scale_all(s.d, w);
  }
};

// d q + m, q of 4 or 5 bits.
template <int kBits>
struct WithMinimum {
  static constexpr int32_t kWeights = 32;
  static constexpr int32_t kBytes = kBits == 4 ? 20 : 24;

  struct Scales {
    Vec d;
    Vec m;
  };
  static Scales scales(const uint8_t* block) {
    return {V::all(half_at(block)), V::all(half_at(block + 2))};
  }

  template <int kPart>
  static void load32(const uint8_t* block, const Scales& s, Vec* w) {
    Bytes::Reg code = Bytes::nibbles_of_16(block + kBytes - 16);
    if constexpr (kBits == 5) {
      code = Bytes::bit_or(code, Bytes::spread_bits(block + 4, 16));
    }
    V::of_int8s(code, w);
    for (int i = 0; i < kParts; ++i) {
      w[i] = V::fmadd(s.d, w[i], s.m);
    }
  }
};
using Q4_1 = WithMinimum<4>;
using Q5_1 = WithMinimum<5>;

// A word of eight such bytes.
constexpr uint64_t all_bytes(uint8_t byte) {
  return byte * uint64_t{0x0101010101010101};
}

struct Q2K {
  static constexpr int32_t kWeights = 256;
  static constexpr int32_t kBytes = 84;

  struct Scales {
    float scale[16];
    float min[16];
  };
  static Scales scales(const uint8_t* block) {
    Scales s;
    for (int i = 0; i < 16; i += 8) {
      const auto eight = load_bytes<uint64_t>(block + i);
      Bytes::scale8(eight & all_bytes(15), half_at(block + 80), s.scale + i);
      Bytes::scale8((eight >> 4) & all_bytes(15), half_at(block + 82), s.min + i);
    }
    return s;
  }

  template <int kPart>
  static void load32(const uint8_t* block, const Scales& s, Vec* w) {
    const Bytes::Reg packed = Bytes::load(block + 16 + 32 * (kPart / 4));
    V::of_int8s(Bytes::move_bits<2 * (kPart % 4), 0, 3>(packed), w);
    for (int i = 0; i < kParts; ++i) {
      const int group = 2 * kPart + i * kVecLanes / 16;
      w[i] = V::fmsub(V::all(s.scale[group]), w[i], V::all(s.min[group]));
    }
  }
};

struct Q3K {
  static constexpr int32_t kWeights = 256;
  static constexpr int32_t kBytes = 110;

  struct Scales {
    float scale[16];
  };
  static Scales scales(const uint8_t* block) {
    const float d = half_at(block + 108);
    const auto low = load_bytes<uint64_t>(block + 96);
    const uint64_t high = load_bytes<uint32_t>(block + 104);
    Scales s;
    for (int i = 0; i < 2; ++i) {
      const uint64_t pairs = high >> (4 * i);
      const uint64_t top = (pairs & all_bytes(3)) | (pairs >> 2 & all_bytes(3)) << 32;
      const uint64_t codes = (low >> (4 * i) & all_bytes(15)) | top << 4;
      // Bytes 0..63 less 32, as int8: adding 96 carries into no neighbour, and the top bit is turned.
      Bytes::scale8((codes + all_bytes(96)) ^ all_bytes(128), d, s.scale + 8 * i);
    }
    return s;
  }

  template <int kPart>
  static void load32(const uint8_t* block, const Scales& s, Vec* w) {
    const Bytes::Reg low =
        Bytes::move_bits<2 * (kPart % 4), 0, 3>(Bytes::load(block + 32 + 32 * (kPart / 4)));
    const Bytes::Reg top = Bytes::move_bits<kPart, 2, 1>(Bytes::load(block));
    V::of_int8s(Bytes::subtract(Bytes::bit_or(low, top), 4), w);
    for (int i = 0; i < kParts; ++i) {
      w[i] = V::multiply(w[i], V::all(s.scale[2 * kPart + i * kVecLanes / 16]));
    }
  }
};

// Q4_K; Q5_K has 32 bytes of top bits before the nibbles.
template <int kBits>
struct SixBitScales {
  static constexpr int32_t kWeights = 256;
  static constexpr int32_t kTopBytes = kBits == 5 ? 32 : 0;
  static constexpr int32_t kBytes = 144 + kTopBytes;

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
    const Bytes::Reg packed = Bytes::load(block + 16 + kTopBytes + 32 * (kPart / 2));
    Bytes::Reg code = nibbles_at<4 * (kPart % 2)>(packed);
    if constexpr (kBits == 5) {
      code = Bytes::bit_or(code, Bytes::move_bits<kPart, 4, 1>(Bytes::load(block + 16)));
    }
    V::of_int8s(code, w);
    const Vec scale = V::all(s.scale[kPart]);
    const Vec min = V::all(s.min[kPart]);
    for (int i = 0; i < kParts; ++i) {
      w[i] = V::fmsub(scale, w[i], min);
    }
  }
};

using Q4K = SixBitScales<4>;
using Q5K = SixBitScales<5>;

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
    const Bytes::Reg low = nibbles_at<4 * (kQuarter / 2)>(packed);
    const Bytes::Reg high =
        Bytes::move_bits<2 * kQuarter, 4, 3>(Bytes::load(block + 128 + 32 * kHalf));
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
    decode_numbers<F32>, decode_numbers<F16>,  decode_numbers<BF16>, decode_blocks<Q8_0>,
    decode_blocks<Q4_0>, decode_blocks<Q4K>,   decode_blocks<Q6K>,   decode_blocks<Q4_1>,
    decode_blocks<Q5_0>, decode_blocks<Q5_1>,  decode_blocks<Q2K>,   decode_blocks<Q3K>,
    decode_blocks<Q5K>,  decode_blocks<IQ4NL>, decode_blocks<MXFP4>};
