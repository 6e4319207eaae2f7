// Ternary products by sdot (four products of signed bytes added to each int32 lane), its second factor a lane of a register:
// 16 activations serve four steps with no broadcast. Included inside the unnamed namespace of an instruction-set file, after
// neon_ternary.inl.

template <int kLane>
inline int32x4_t dot(int32x4_t sum, uint8x16_t codes, int8x16_t q) {
  return vdotq_laneq_s32(sum, vreinterpretq_s8_u8(codes), q, kLane);
}

// ---- One token: fields are multiplied where they lie in the byte, so their sums come out multiplied too, and are shifted
// back once. Each is a multiple of what it is divided by, so that is exact.

template <class Format>
struct DotDecoder;

// Field f counts 4^f times, 32 at most; field 3 would not fit a signed byte and is shifted down.
// 32 x 128 x 4 columns a step: 65536 steps reach 2^30.
template <>
struct DotDecoder<TwoBit> {
  using Format = TwoBit;
  static constexpr int32_t kRunSteps = 1 << 16;
  static_assert(int64_t{32} * 128 * kStepCols * kRunSteps <= INT32_MAX);

  struct Sums {
    int32x4_t field[Format::kFields];
  };

  template <int kLane>
  static void step(Sums& s, uint8x16_t v, int8x16_t q) {
    s.field[0] = dot<kLane>(s.field[0], vandq_u8(v, vdupq_n_u8(0x03)), q);
    s.field[1] = dot<kLane>(s.field[1], vandq_u8(v, vdupq_n_u8(0x0C)), q);
    s.field[2] = dot<kLane>(s.field[2], vandq_u8(v, vdupq_n_u8(0x30)), q);
    s.field[3] = dot<kLane>(s.field[3], vshrq_n_u8(v, 6), q);
  }

  static void resolve(const Sums& s, int32x4_t* out) {
    out[0] = vaddq_s32(out[0], s.field[0]);
    out[1] = vsraq_n_s32(out[1], s.field[1], 2);
    out[2] = vsraq_n_s32(out[2], s.field[2], 4);
    out[3] = vaddq_s32(out[3], s.field[3]);
  }
};

// A packed byte is g = ceil(256 v / 243); g' = 3 g mod 256 is the fraction without its first digit u: 3 g - g' = 256 u. Taken as
// signed bytes h = g - 128 (flip the top bit), 3 h mod 256 = g' - 128 = h' likewise, and 3 h - h' = 256 (u - 1): 256 times the
// weight. So six sums of h, 3 h, 9 h ... times the activations give the five row blocks, with no digit ever taken out.
//   |sum of h| <= 128 x 128 a column; three of it and one more <= 2^16: 8191 steps of 4 columns stay below 2^31.
template <>
struct DotDecoder<Base3> {
  using Format = Base3;
  static constexpr int32_t kRunSteps = 4096;
  static_assert(int64_t{4} * 128 * 128 * kStepCols * kRunSteps <= INT32_MAX);

  struct Sums {
    int32x4_t power[Format::kFields + 1];
  };

  template <int kLane>
  static void step(Sums& s, uint8x16_t v, int8x16_t q) {
    uint8x16_t h = veorq_u8(v, vdupq_n_u8(0x80));
    for (int i = 0; i < Format::kFields; ++i) {
      s.power[i] = dot<kLane>(s.power[i], h, q);
      h = vmulq_u8(h, vdupq_n_u8(3));
    }
    s.power[Format::kFields] = dot<kLane>(s.power[Format::kFields], h, q);
  }

  static void resolve(const Sums& s, int32x4_t* out) {
    for (int f = 0; f < Format::kFields; ++f) {
      const int32x4_t weights = vsubq_s32(vmulq_n_s32(s.power[f], 3), s.power[f + 1]);
      out[f] = vsraq_n_s32(out[f], weights, 8);
    }
  }
};

// Bit f counts 2^f times, bit 7 -128 times; codes of Sign are -1 where the bit is set.
// 128 x 128 x 4 columns a step: 16384 steps reach 2^30.
template <>
struct DotDecoder<Sign> {
  using Format = Sign;
  static constexpr int32_t kRunSteps = 1 << 14;
  static_assert(int64_t{128} * 128 * kStepCols * kRunSteps <= INT32_MAX);

  struct Sums {
    int32x4_t bit[Format::kFields];
  };

  template <int kLane>
  static void step(Sums& s, uint8x16_t v, int8x16_t q) {
    for (int f = 0; f < Format::kFields; ++f) {
      s.bit[f] = dot<kLane>(s.bit[f], vandq_u8(v, vdupq_n_u8(static_cast<uint8_t>(1U << f))), q);
    }
  }

  static void resolve(const Sums& s, int32x4_t* out) {
    for (int f = 0; f < Format::kFields; ++f) {
      const int32x4_t set = vshlq_s32(s.bit[f], vdupq_n_s32(-f));
      out[f] = f == 7 ? vaddq_s32(out[f], set) : vsubq_s32(out[f], set);
    }
  }
};
