// Loops that do nothing but multiply and add in registers, with the instructions that bound the products of a table: the
// ceilings that measurements are compared with. Included inside the unnamed namespace of an instruction-set file, after the
// vectors V (and, where there is vpdpbusd, x86_vnni.inl).

// So many independent sums that no instruction waits for the one before it: latency 5 times 2 instructions a clock.
constexpr int kPeakSums = 10;

// sums += a * b: unsigned bytes with signed ones.
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
inline void peak_step(V::Ints& sums, V::Ints a, V::Ints b) {
  add_products(sums, a, b);
}
#else
// Products alone would go twice as fast, but int16 sums must be added up somewhere.
inline void peak_step(V::Ints& sums, V::Ints a, V::Ints b) {
  sums = _mm256_add_epi16(sums, _mm256_maddubs_epi16(a, b));
}
#endif
inline void peak_step(V::Vec& sums, V::Vec a, V::Vec b) {
  sums = V::fmadd(a, b, sums);
}

// Runs kPeakSums steps `rounds` times. Before each step the compiler is told that the operands change, so that it neither moves
// one out of the loop nor does equal ones once.
template <class Vector>
inline void run_peak(int64_t rounds, Vector start) {
  Vector sums[kPeakSums];
#pragma GCC unroll 16
  for (int i = 0; i < kPeakSums; ++i) {
    sums[i] = start;
  }
  Vector a = start;
  Vector b = start;
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < kPeakSums; ++i) {
      __asm__ volatile("" : "+x"(a), "+x"(b));
      peak_step(sums[i], a, b);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kPeakSums; ++i) {
    __asm__ volatile("" : : "x"(sums[i]));
  }
}

int64_t peak_ternary(int64_t rounds) noexcept {
  run_peak(rounds, V::all_ints(0x01010101));
  return rounds * kPeakSums * 4 * V::kLanes;
}

int64_t peak_dense(int64_t rounds) noexcept {
  run_peak(rounds, V::all(0.5F));
  return rounds * kPeakSums * V::kLanes;
}
