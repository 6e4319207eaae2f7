// Activations to int8, and attention over an F16 cache, on NEON. Included inside the unnamed namespace of neon.cpp.

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

// Eight halves as floats.
struct EightFloats {
  float32x4_t low;
  float32x4_t high;
};

inline EightFloats floats_of_halves(const Half* p) {
  const float16x8_t halves = vreinterpretq_f16_u16(vld1q_u16(p));
  return {vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)};
}

// The `left` halves that exist, then zeros.
inline EightFloats load_halves(const Half* p, int32_t left) {
  if (left >= 8) {
    return floats_of_halves(p);
  }
  Half padded[8] = {};
  for (int32_t i = 0; i < left; ++i) {
    padded[i] = p[i];
  }
  return floats_of_halves(padded);
}

template <int kPositions>
inline void score_positions(const float* q, const Half* k, int64_t stride, int32_t dims,
                            float scale, float* scores) {
  EightFloats acc[kPositions] = {};
  for (int32_t d = 0; d < dims; d += 8) {
    const int32_t left = dims - d;
    const float32x4_t low = load_floats(q + d, left);
    const float32x4_t high = load_floats(q + d + 4, left - 4);
    for (int p = 0; p < kPositions; ++p) {
      const EightFloats key = load_halves(k + p * stride + d, left);
      acc[p].low = vfmaq_f32(acc[p].low, key.low, low);
      acc[p].high = vfmaq_f32(acc[p].high, key.high, high);
    }
  }
  for (int p = 0; p < kPositions; ++p) {
    scores[p] = scale * vaddvq_f32(vaddq_f32(acc[p].low, acc[p].high));
  }
}

void attention_scores(const float* q, const Half* k, int64_t stride, int32_t dims, int32_t count,
                      float scale, float* scores) noexcept {
  constexpr int32_t kPositions = 4;
  int32_t p = 0;
  for (; p + kPositions <= count; p += kPositions) {
    score_positions<kPositions>(q, k + p * stride, stride, dims, scale, scores + p);
  }
  for (; p < count; ++p) {
    score_positions<1>(q, k + p * stride, stride, dims, scale, scores + p);
  }
}

// 8 * kVectors dimensions of the weighted sum, or the last `left` < 8.
template <int kVectors>
inline void sum_values(const float* weights, const Half* v, int64_t stride, int32_t left,
                       int32_t count, float* out) {
  EightFloats acc[kVectors] = {};
  for (int32_t p = 0; p < count; ++p) {
    const float32x4_t weight = vdupq_n_f32(weights[p]);
    for (int i = 0; i < kVectors; ++i) {
      const EightFloats value = load_halves(v + p * stride + 8 * i, left);
      acc[i].low = vfmaq_f32(acc[i].low, weight, value.low);
      acc[i].high = vfmaq_f32(acc[i].high, weight, value.high);
    }
  }
  for (int i = 0; i < kVectors; ++i) {
    Batch<Floats>::store(Floats(acc[i].low), out + 8 * i, left);
    if (left > 4) {
      Batch<Floats>::store(Floats(acc[i].high), out + 8 * i + 4, left - 4);
    }
  }
}

void attention_values(const float* weights, const Half* v, int64_t stride, int32_t dims,
                      int32_t count, float* out) noexcept {
  constexpr int32_t kVectors = 8;
  int32_t d = 0;
  for (; d + 8 * kVectors <= dims; d += 8 * kVectors) {
    sum_values<kVectors>(weights, v + d, stride, 8, count, out + d);
  }
  for (; d < dims; d += 8) {
    sum_values<1>(weights, v + d, stride, dims - d, count, out + d);
  }
}

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
