// Ternary products with vpmaddubsw, which multiplies unsigned codes with signed activations and adds pairs of products to int16s;
// vpmaddwd with ones later adds the two pairs of a lane. Included inside the unnamed namespace of avx2.cpp, after
// x86_ternary.inl.

inline __m256i add_wide(__m256i sums, __m256i pairs) {
  return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

// ---- Formats: a step of packed bytes as bytes that vpmaddubsw can take, one register a row block.
//
//   kLargest                 the largest of them, which says how many steps an int16 holds
//   expand(v, w)             writes them: codes, or multiples of codes that cost less to get
//   code_sum<block>(sum)     the sum of codes times activations from that of what expand() wrote
//   unpack(v, codes)         writes the codes 0..2 themselves

// Masks pick two row blocks (fields) of a byte where they lie, a 16-bit shift by 4 brings the other two there (bits that cross from
// the upper byte into the lower one are masked off). Every other field is left in place, so that it counts four times.
struct TwoBit {
  static constexpr PackedLayout kLayout{Packing::kTwoBit, 32, kStepCols};
  static constexpr int32_t kLargest = 8;

  static void expand(__m256i v, __m256i* w) {
    const __m256i low = _mm256_set1_epi8(0x03);
    const __m256i next = _mm256_set1_epi8(0x0C);
    const __m256i upper = _mm256_srli_epi16(v, 4);
    w[0] = _mm256_and_si256(v, low);
    w[1] = _mm256_and_si256(v, next);
    w[2] = _mm256_and_si256(upper, low);
    w[3] = _mm256_and_si256(upper, next);
  }
  template <int kBlock>
  static __m256i code_sum(__m256i sum) {
    return kBlock % 2 == 0 ? sum : _mm256_srai_epi32(sum, 2);  // a multiple of 4
  }
  static void unpack(__m256i v, __m256i* codes) {
    const __m256i low = _mm256_set1_epi8(0x03);
    codes[0] = _mm256_and_si256(v, low);
    codes[1] = _mm256_and_si256(_mm256_srli_epi16(v, 2), low);
    codes[2] = _mm256_and_si256(_mm256_srli_epi16(v, 4), low);
    codes[3] = _mm256_and_si256(_mm256_srli_epi16(v, 6), low);
  }
};

// Five base-3 digits a byte, as the fraction g: 3 g mod 256 is the fraction without its first digit, which is how many of 86 and
// 171 g reaches. AVX2 compares signed bytes, so h = g - 128 it is; 3 h mod 256 = (3 g mod 256) - 128, for 3 * 128 = 128 mod 256.
struct Base3 {
  static constexpr PackedLayout kLayout{Packing::kBase3, 40, kStepCols};
  static constexpr int32_t kLargest = 2;

  static void expand(__m256i v, __m256i* w) {
    __m256i h = _mm256_xor_si256(v, _mm256_set1_epi8(-128));
    for (int f = 0; f < 5; ++f) {
      const __m256i not_zero = _mm256_cmpgt_epi8(h, _mm256_set1_epi8(85 - 128));
      const __m256i is_two = _mm256_cmpgt_epi8(h, _mm256_set1_epi8(170 - 128));
      w[f] = _mm256_abs_epi8(_mm256_add_epi8(not_zero, is_two));  // comparisons yield -1
      h = _mm256_add_epi8(h, _mm256_add_epi8(h, h));
    }
  }
  template <int kBlock>
  static __m256i code_sum(__m256i sum) {
    return sum;
  }
  static void unpack(__m256i v, __m256i* codes) { expand(v, codes); }
};

// One bit a weight; set bits have the code 2. Four of them are left in place, the other four brought there by one shift.
struct Sign {
  static constexpr PackedLayout kLayout{Packing::kSign, 64, kStepCols};
  static constexpr int32_t kLargest = 8;

  static void expand(__m256i v, __m256i* w) {
    const __m256i upper = _mm256_srli_epi16(v, 4);
    for (int f = 0; f < 4; ++f) {
      const __m256i bit = _mm256_set1_epi8(static_cast<char>(1 << f));
      w[f] = _mm256_and_si256(v, bit);
      w[f + 4] = _mm256_and_si256(upper, bit);
    }
  }
  template <int kBlock>
  static __m256i code_sum(__m256i sum) {
    // 2^(kBlock % 4) times the sum over set bits
    return _mm256_srai_epi32(_mm256_add_epi32(sum, sum), kBlock % 4);
  }
  static void unpack(__m256i v, __m256i* codes) {
    expand(v, codes);
    const __m256i zero = _mm256_setzero_si256();
    for (int f = 0; f < 8; ++f) {
      const __m256i is_set = _mm256_cmpgt_epi8(codes[f], zero);
      codes[f] = _mm256_and_si256(is_set, _mm256_set1_epi8(2));
    }
  }
};

// ---- Codes that were unpacked to one a byte, times kTokens tokens: sums +=. A pair of codes 0..2 adds -512 .. 508 to an int16, and
// 64 steps reach -32768 .. 32512: exactly what an int16 holds.

constexpr int32_t kUnpackedSteps = 64;
constexpr int kUnpackedTile = 4;  // tokens
static_assert(2 * 2 * 128 * kUnpackedSteps <= 32768 && 2 * 2 * 127 * kUnpackedSteps <= 32767);

// Sums of two tokens and two row blocks.
struct Sums2x2 {
  __m256i of[2][2];

  // In assembly: gcc 12 keeps these sums in memory, and a vpaddw that directly follows the product it waits for costs an EPYC of
  // family 25 a third of its rate. The second product of a token takes the register of the token.
  void add(__m256i w0, __m256i w1, __m256i x0, __m256i x1) {
    __m256i p0;
    __m256i p1;
    __asm__(
        "vpmaddubsw %4, %8, %6\n\t"
        "vpmaddubsw %4, %9, %4\n\t"
        "vpmaddubsw %5, %8, %7\n\t"
        "vpmaddubsw %5, %9, %5\n\t"
        "vpaddw %6, %0, %0\n\t"
        "vpaddw %4, %1, %1\n\t"
        "vpaddw %7, %2, %2\n\t"
        "vpaddw %5, %3, %3"
        : "+x"(of[0][0]), "+x"(of[0][1]), "+x"(of[1][0]), "+x"(of[1][1]), "+x"(x0), "+x"(x1),
          "=&x"(p0), "=&x"(p1)
        : "x"(w0), "x"(w1));
  }
  template <int kCount>
  void add_to(__m256i (*sums)[kCount], int block) const {
    sums[0][block] = add_wide(sums[0][block], of[0][0]);
    sums[0][block + 1] = add_wide(sums[0][block + 1], of[0][1]);
    sums[1][block] = add_wide(sums[1][block], of[1][0]);
    sums[1][block + 1] = add_wide(sums[1][block + 1], of[1][1]);
  }
};

// Four tokens and two row blocks: 8 sums, 2 weights, 2 tokens and 2 products in 16 registers. Not inlined, for where gcc 12
// inlines it, it does not always see that all have room.
template <int kCount>
[[gnu::noinline]] void multiply_4x2(const __m256i (*codes)[kCount], int block, int32_t steps,
                                    Activations x, __m256i (*sums)[kCount]) {
  const Activations x2{x.at(2, 0), x.stride};
  Sums2x2 sums0 = {};
  Sums2x2 sums2 = {};
  for (int32_t step = 0; step < steps; ++step) {
    const __m256i w0 = V::load_ints(&codes[step][block]);
    const __m256i w1 = V::load_ints(&codes[step][block + 1]);
    sums0.add(w0, w1, x.four(0, step), x.four(1, step));
    sums2.add(w0, w1, x2.four(0, step), x2.four(1, step));
  }
  sums0.add_to(sums, block);
  sums2.add_to(sums + 2, block);
}

template <int kTokens, int kCount>
inline void multiply_block(const __m256i (*codes)[kCount], int block, int32_t steps, Activations x,
                           __m256i (*sums)[kCount]) {
  __m256i acc[kTokens] = {};
  for (int32_t step = 0; step < steps; ++step) {
    const __m256i w = V::load_ints(&codes[step][block]);
    for (int t = 0; t < kTokens; ++t) {
      acc[t] = _mm256_add_epi16(acc[t], _mm256_maddubs_epi16(w, x.four(t, step)));
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    sums[t][block] = add_wide(sums[t][block], acc[t]);
  }
}

template <int kTokens, int kCount>
inline void multiply_unpacked(const __m256i (*codes)[kCount], int32_t steps, Activations x,
                              __m256i (*sums)[kCount]) {
  int block = 0;
  if constexpr (kTokens == 4) {
    for (; block + 2 <= kCount; block += 2) {
      multiply_4x2(codes, block, steps, x, sums);
    }
  }
  for (; block < kCount; ++block) {
    multiply_block<kTokens>(codes, block, steps, x, sums);
  }
}

// ---- The Kernel that x86_ternary.inl asks for.

template <class Format, int kPanelsAtOnce>
struct Maddubs {
  static constexpr PackedLayout kLayout = Format::kLayout;
  static constexpr int kCount = fields_of(kLayout.packing);
  // With 16-bit activations a token is two rows. More of them than two do not fit 16 registers.
  static constexpr int kDirectTokens = kCount == 4 ? 2 : 1;
  static constexpr int32_t kDirectLimit = kDirectTokens;
  static constexpr int kDirectPanels = kPanelsAtOnce;

  // Steps that an int16 holds: a pair adds 2 * kLargest * -128 .. 2 * kLargest * 127, and with kLargest = 8, 16 steps reach
  // -32768 .. 32512.
  static constexpr int32_t kRun = 128 / Format::kLargest;
  static_assert(2 * Format::kLargest * 128 * kRun <= 32768);

  template <int kPanels, int kTokens>
  static void multiply(Stream panels, Activations x, int32_t steps,
                       PanelSums<Maddubs> (*out)[kTokens]) {
    static_assert(kPanels == 1 || kTokens == 1);
    constexpr int kSums = kPanels * kTokens;
    Sums wide[kSums] = {};
    for (int32_t run = 0; run < steps; run += kRun) {
      const int32_t end = at_most(steps, run + kRun);
      Sums acc[kSums] = {};
      for (int32_t step = run; step < end; ++step) {
        for (int p = 0; p < kPanels; ++p) {
          if (step % 2 == 0) {  // once a cache line
            prefetch(panels.at(p, step));
          }
          __m256i w[kCount];
          Format::expand(V::load_ints(panels.at(p, step)), w);
          for (int t = 0; t < kTokens; ++t) {
            acc[p + t].add_products(w, x.four(t, step));
          }
        }
      }
      for (int i = 0; i < kSums; ++i) {
        wide[i].add_wide_of(acc[i]);
      }
    }
    for (int p = 0; p < kPanels; ++p) {
      for (int t = 0; t < kTokens; ++t) {
        wide[p + t].template code_sums<0>(out[p][t].block);
      }
    }
  }

  static constexpr int32_t kChunkSteps = kUnpackedSteps;
  static constexpr int kTokenTile = kUnpackedTile;

  static void unpack(const uint8_t* packed, int32_t steps, __m256i (*codes)[kCount]) {
    for (int32_t step = 0; step < steps; ++step) {
      Format::unpack(V::load_ints(packed + step * kStepBytes), codes[step]);
    }
  }

  template <int kTokens>
  static void multiply_tile(const __m256i (*codes)[kCount], int32_t steps, Activations x,
                            __m256i (*sums)[kCount]) {
    multiply_unpacked<kTokens>(codes, steps, x, sums);
  }

 private:
  struct Sums {
    __m256i block[kCount];

    void add_products(const __m256i* w, __m256i four) {
      for (int b = 0; b < kCount; ++b) {
        block[b] = _mm256_add_epi16(block[b], _mm256_maddubs_epi16(w[b], four));
      }
    }
    void add_wide_of(const Sums& pairs) {
      for (int b = 0; b < kCount; ++b) {
        block[b] = add_wide(block[b], pairs.block[b]);
      }
    }
    template <int kBlock>
    void code_sums(__m256i* out) const {
      if constexpr (kBlock < kCount) {
        out[kBlock] = Format::template code_sum<kBlock>(block[kBlock]);
        code_sums<kBlock + 1>(out);
      }
    }
  };
};
