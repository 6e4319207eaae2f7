// two_bit products on AVX2. Included inside the unnamed namespace of avx2.cpp, after x86_ternary.inl.
//
// A step is 32 bytes: 4 columns of the 32 rows of a panel. Masks pick two row blocks (fields) of a byte where they lie, a 16-bit
// shift by 4 brings the other two there (bits that cross from the upper byte into the lower one are masked off). vpmaddubsw
// multiplies unsigned codes with signed activations and adds pairs; vpmaddwd with ones later adds the two pairs of a lane.

inline __m256i add_wide(__m256i sums, __m256i pairs) {
  return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

// Codes that were unpacked to one a byte, times kTokens tokens: sums +=. A pair of codes 0..2 adds -512 .. 508 to an int16, and
// 64 steps reach -32768 .. 32512: exactly what an int16 holds.
constexpr int32_t kUnpackedSteps = 64;
constexpr int kUnpackedTile = 2;  // tokens
static_assert(2 * 2 * 128 * kUnpackedSteps <= 32768 && 2 * 2 * 127 * kUnpackedSteps <= 32767);

template <int kTokens, int kCount>
inline void multiply_unpacked(const __m256i (*codes)[kCount], int32_t steps, Activations x,
                              __m256i (*sums)[kCount]) {
  __m256i acc[kTokens][kCount];
  for (int t = 0; t < kTokens; ++t) {
    for (int b = 0; b < kCount; ++b) {
      acc[t][b] = _mm256_setzero_si256();
    }
  }
  for (int32_t step = 0; step < steps; ++step) {
    __m256i four[kTokens];
    for (int t = 0; t < kTokens; ++t) {
      four[t] = x.four(t, step);
    }
    for (int b = 0; b < kCount; ++b) {
      const __m256i w = _mm256_load_si256(&codes[step][b]);
      for (int t = 0; t < kTokens; ++t) {
        acc[t][b] = _mm256_add_epi16(acc[t][b], _mm256_maddubs_epi16(w, four[t]));
      }
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    for (int b = 0; b < kCount; ++b) {
      sums[t][b] = add_wide(sums[t][b], acc[t][b]);
    }
  }
}

struct TwoBit {
  static constexpr PackedLayout kLayout{Packing::kTwoBit, 32, kStepCols};
  static constexpr int kFields = 4;
  static constexpr int32_t kDirectLimit = 1;
  static constexpr int kDirectTokens = 1;
  static constexpr int kDirectPanels = 2;

  // Field mask 0x0C: codes count 4 times, so that a pair adds at most 2 * 8 * 128 = 2048 in magnitude (downwards; 2032
  // upwards) to an int16, and 16 steps reach -32768 .. 32512.
  static constexpr int32_t kRun = 16;
  static_assert(2 * 8 * 128 * kRun <= 32768 && 2 * 8 * 127 * kRun <= 32767);

  template <int kPanels, int kTokens>
  static void multiply(Stream panels, Activations x, int32_t steps, PanelSums<TwoBit> (*out)[1]) {
    static_assert(kTokens == 1);
    const __m256i low = _mm256_set1_epi8(0x03);
    const __m256i next = _mm256_set1_epi8(0x0C);
    __m256i wide[kPanels][kFields] = {};
    for (int32_t run = 0; run < steps; run += kRun) {
      const int32_t count = at_most(steps - run, kRun);
      __m256i acc[kPanels][kFields] = {};
      for (int32_t i = 0; i < count; ++i) {
        const __m256i four = x.four(0, run + i);
        for (int p = 0; p < kPanels; ++p) {
          const uint8_t* from = panels.at(p, run + i);
          if (i % 2 == 0) {  // once a cache line
            prefetch(from);
          }
          const __m256i v = V::load_ints(from);
          const __m256i shifted = _mm256_srli_epi16(v, 4);
          const __m256i w[kFields] = {_mm256_and_si256(v, low), _mm256_and_si256(v, next),
                                      _mm256_and_si256(shifted, low),
                                      _mm256_and_si256(shifted, next)};
          for (int f = 0; f < kFields; ++f) {
            acc[p][f] = _mm256_add_epi16(acc[p][f], _mm256_maddubs_epi16(w[f], four));
          }
        }
      }
      for (int p = 0; p < kPanels; ++p) {
        for (int f = 0; f < kFields; ++f) {
          wide[p][f] = add_wide(wide[p][f], acc[p][f]);
        }
      }
    }
    for (int p = 0; p < kPanels; ++p) {
      for (int f = 0; f < kFields; ++f) {
        // Fields 1 and 3 counted four times: their sums are multiples of 4.
        out[p][0].block[f] = f % 2 == 0 ? wide[p][f] : _mm256_srai_epi32(wide[p][f], 2);
      }
    }
  }

  static constexpr int32_t kChunkSteps = kUnpackedSteps;
  static constexpr int kTokenTile = kUnpackedTile;

  static void unpack(const uint8_t* packed, int32_t steps, __m256i (*codes)[kFields]) {
    const __m256i low = _mm256_set1_epi8(0x03);
    for (int32_t step = 0; step < steps; ++step) {
      const __m256i v = V::load_ints(packed + step * kStepBytes);
      codes[step][0] = _mm256_and_si256(v, low);
      codes[step][1] = _mm256_and_si256(_mm256_srli_epi16(v, 2), low);
      codes[step][2] = _mm256_and_si256(_mm256_srli_epi16(v, 4), low);
      codes[step][3] = _mm256_and_si256(_mm256_srli_epi16(v, 6), low);
    }
  }

  template <int kTokens>
  static void multiply_tile(const __m256i (*codes)[kFields], int32_t steps, Activations x,
                            __m256i (*sums)[kFields]) {
    multiply_unpacked<kTokens>(codes, steps, x, sums);
  }
};
