// Activations to int8, halves, and numbers of the kv cache, on NEON. Included inside the unnamed namespace of neon.cpp.

// The last n < 4 floats at `p`, then zeros.
inline float32x4_t load_floats(const float* p, int32_t n) {
  if (n >= 4) {
    return vld1q_f32(p);
  }
  float padded[4] = {};
  for (int32_t i = 0; i < n; ++i) {
    padded[i] = p[i];
  }
  return vld1q_f32(padded);
}

// The largest |x[i]|, at least 1e-5. NaN is not greater than anything, so it never wins.
float largest_magnitude(const float* x, int32_t n) {
  float32x4_t max = vdupq_n_f32(1e-5F);
  for (int32_t i = 0; i < n; i += 4) {
    const float32x4_t magnitude = vabsq_f32(load_floats(x + i, n - i));
    max = vbslq_f32(vcgtq_f32(magnitude, max), magnitude, max);
  }
  return vmaxvq_f32(max);
}

// Four values to integers, ties to even; NaN to 0, what is too large to the largest int32.
inline int32x4_t quantize4(const float* x, int32_t left, float32x4_t inverse) {
  return vcvtnq_s32_f32(vmulq_f32(load_floats(x, left), inverse));
}

void quantize_q8(const float* x, int32_t n, int32_t stride, int8_t* q, float* scale,
                 int32_t* sums) noexcept {
  const float max = largest_magnitude(x, n);
  *scale = max / 127.0F;
  const float32x4_t inverse = vdupq_n_f32(127.0F / max);
  for (int32_t block = 0; block < stride; block += kQ8SumBlock) {
    int16x8_t sum = vdupq_n_s16(0);  // 8 x 128 at most
    for (int32_t i = block; i < block + kQ8SumBlock; i += 8) {
      // Narrowing saturates, which is the clamp to -128..127.
      const int16x4_t low = vqmovn_s32(quantize4(x + i, n - i, inverse));
      const int16x4_t high = vqmovn_s32(quantize4(x + i + 4, n - i - 4, inverse));
      const int8x8_t eight = vqmovn_s16(vcombine_s16(low, high));
      vst1_s8(q + i, eight);
      sum = vaddw_s8(sum, eight);
    }
    sums[block / kQ8SumBlock] = vaddlvq_s16(sum);
  }
}

// ---- Attention

struct HalfLines {
  using Number = Half;
  static Floats load(const Half* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
};
struct ByteLines {
  using Number = int8_t;
  static Floats load(const int8_t* p) {
    int32_t four = 0;
    __builtin_memcpy(&four, p, sizeof(four));
    const int16x8_t words = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four)));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(words)));
  }
};

void to_half(const float* x, int32_t n, Half* out) noexcept {
  for (int32_t i = 0; i < n; i += 4) {
    const uint16x4_t halves = vreinterpret_u16_f16(vcvt_f16_f32(load_floats(x + i, n - i)));
    if (n - i >= 4) {
      vst1_u16(out + i, halves);
      continue;
    }
    Half padded[4];
    vst1_u16(padded, halves);
    for (int32_t j = i; j < n; ++j) {
      out[j] = padded[j - i];
    }
  }
}
