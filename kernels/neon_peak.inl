// The loops of x86_peak.inl for NEON. Included inside the unnamed namespace of an instruction-set file, after its
// peak_step(int32x4_t sums, int8x16_t a, int8x16_t b), which adds kPeakProducts products.

constexpr int kPeakSums = 10;

inline float32x4_t peak_step(float32x4_t sums, float32x4_t a, float32x4_t b) {
  return vfmaq_f32(sums, a, b);
}

template <class Sums, class Vector>
inline void run_peak(int64_t rounds, Sums zero, Vector start) {
  Sums sums[kPeakSums];
#pragma GCC unroll 16
  for (int i = 0; i < kPeakSums; ++i) {
    sums[i] = zero;
  }
  Vector a = start;
  Vector b = start;
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < kPeakSums; ++i) {
      __asm__ volatile("" : "+w"(a), "+w"(b));
      sums[i] = peak_step(sums[i], a, b);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kPeakSums; ++i) {
    __asm__ volatile("" : : "w"(sums[i]));
  }
}

int64_t peak_ternary(int64_t rounds) noexcept {
  run_peak(rounds, vdupq_n_s32(0), vdupq_n_s8(1));
  return rounds * kPeakSums * kPeakProducts;
}

int64_t peak_dense(int64_t rounds) noexcept {
  run_peak(rounds, vdupq_n_f32(0), vdupq_n_f32(0.5F));
  return rounds * kPeakSums * 4;
}
