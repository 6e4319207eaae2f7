// Vectors of eight floats in two registers, and 32 bytes, as the dense_*.inl files use them. Included inside the unnamed namespace
// of neon.cpp.

struct V {
  struct Vec {
    float32x4_t low;
    float32x4_t high;
  };
  static constexpr int32_t kLanes = 8;
  static constexpr int32_t kTokenTile =
      2;  // 4 x 2 sums, 2 activations, 1 weight, twice: 22 of 32 registers

  static Vec zero() { return all(0.0F); }
  static Vec all(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
  static Vec load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
  static void store(float* p, Vec v) {
    vst1q_f32(p, v.low);
    vst1q_f32(p + 4, v.high);
  }
  static Vec multiply(Vec a, Vec b) { return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)}; }
  static Vec fmadd(Vec a, Vec b, Vec c) {
    return {vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)};
  }
  static Vec fmsub(Vec a, Vec b, Vec c) {
    return fmadd(a, b, {vnegq_f32(c.low), vnegq_f32(c.high)});
  }

  // The first n < kLanes floats at `p`, then zeros.
  static Vec load_first(const float* p, int32_t n) {
    float padded[kLanes] = {};
    for (int32_t i = 0; i < n; ++i) {
      padded[i] = p[i];
    }
    return load(padded);
  }
  static Vec of_halves(const uint8_t* p) {
    const float16x8_t halves = vreinterpretq_f16_u8(vld1q_u8(p));
    return {vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)};
  }
  static Vec of_bfloats(const uint8_t* p) {
    const uint16x8_t eight = vreinterpretq_u16_u8(vld1q_u8(p));
    return {vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(eight), 16)),
            vreinterpretq_f32_u32(vshll_high_n_u16(eight, 16))};
  }
  // 32 small integers as four vectors.
  static void of_int8s(uint8x16x2_t int8s, Vec* out) {
    for (int half = 0; half < 2; ++half) {
      const int8x16_t sixteen = vreinterpretq_s8_u8(int8s.val[half]);
      out[2 * half] = of_eight(vmovl_s8(vget_low_s8(sixteen)));
      out[2 * half + 1] = of_eight(vmovl_high_s8(sixteen));
    }
  }
  // Sums of the lanes of four vectors: halves first, then pairwise.
  static float32x4_t lane_sums(const Vec* v) {
    const float32x4_t low = vpaddq_f32(halves(v[0]), halves(v[1]));
    const float32x4_t high = vpaddq_f32(halves(v[2]), halves(v[3]));
    return vpaddq_f32(low, high);
  }

 private:
  static Vec of_eight(int16x8_t v) {
    return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(v))), vcvtq_f32_s32(vmovl_high_s16(v))};
  }
  static float32x4_t halves(Vec v) { return vaddq_f32(v.low, v.high); }
};

struct Bytes {
  using Reg = uint8x16x2_t;

  static Reg load(const uint8_t* p) { return {{vld1q_u8(p), vld1q_u8(p + 16)}}; }
  // The low nibbles of 16 bytes, then the high ones.
  static Reg nibbles_of_16(const uint8_t* p) {
    const uint8x16_t v = vld1q_u8(p);
    return {{vandq_u8(v, vdupq_n_u8(15)), vshrq_n_u8(v, 4)}};
  }
  // The bits kMask << kFrom of each byte, moved to kMask << kTo.
  template <int kFrom, int kTo, int kMask>
  static Reg move_bits(Reg v) {
    const int8x16_t shift = vdupq_n_s8(kTo - kFrom);
    const uint8x16_t mask = vdupq_n_u8(kMask << kTo);
    return {{vandq_u8(vshlq_u8(v.val[0], shift), mask), vandq_u8(vshlq_u8(v.val[1], shift), mask)}};
  }
  // Byte i is `value` where bit i of the 32 at `p` is set, else 0.
  static Reg spread_bits(const uint8_t* p, int8_t value) {
    const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
    const uint8x16_t all = vdupq_n_u8(static_cast<uint8_t>(value));
    const uint8x16_t low = vcombine_u8(vdup_n_u8(p[0]), vdup_n_u8(p[1]));
    const uint8x16_t high = vcombine_u8(vdup_n_u8(p[2]), vdup_n_u8(p[3]));
    return {{vandq_u8(vtstq_u8(low, bit), all), vandq_u8(vtstq_u8(high, bit), all)}};
  }
  // table[index], indices 0..15.
  static Reg look_up(const int8_t* table, Reg index) {
    const int8x16_t sixteen = vld1q_s8(table);
    return {{vreinterpretq_u8_s8(vqtbl1q_s8(sixteen, index.val[0])),
             vreinterpretq_u8_s8(vqtbl1q_s8(sixteen, index.val[1]))}};
  }
  static Reg bit_or(Reg a, Reg b) {
    return {{vorrq_u8(a.val[0], b.val[0]), vorrq_u8(a.val[1], b.val[1])}};
  }
  static Reg subtract(Reg v, int8_t x) {
    const uint8x16_t all = vreinterpretq_u8_s8(vdupq_n_s8(x));
    return {{vsubq_u8(v.val[0], all), vsubq_u8(v.val[1], all)}};
  }

  // Eight int8, the bytes of a word, times d.
  static void scale8(uint64_t int8s, float d, float* out) {
    const int16x8_t eight = vmovl_s8(vcreate_s8(int8s));
    vst1q_f32(out, vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(eight))), d));
    vst1q_f32(out + 4, vmulq_n_f32(vcvtq_f32_s32(vmovl_high_s16(eight)), d));
  }
  static float half(uint16_t bits) {
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))), 0);
  }
};
