// Ternary products with vpdpbusd, which multiplies four unsigned bytes of a lane with four signed ones and adds the products to
// the lane's int32. Included inside the unnamed namespace of an instruction-set file, after x86_ternary.inl: with zmm registers,
// and with ymm ones in both encodings (VEX for AVX-VNNI, EVEX for AVX-512 VL).
//
// Weights are multiplied where they lie in their byte. A packing's expand() makes of a byte several unsigned ones, whose sums over
// all columns combine exactly to those of the codes, once at the end (combine()): no shifts, no tables in the loop. These sums
// wrap around as they like: only what combine() shifts right must fit an int32, which bounds the columns of one run.

// In assembly because gcc 12 surrounds the intrinsic with moves, and spills where many sums are kept.
inline void add_products(V::Ints& sums, V::Ints codes, V::Ints four) {
#ifdef __AVX512VNNI__
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(codes), "v"(four));
#else
  __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sums) : "x"(codes), "x"(four));
#endif
}

// Sums that stay in registers, beside activations and weights: EVEX has 32 registers, VEX 16. Weights that are multiplied as they are
// read take more of them than those that were unpacked, which come one vector at a time.
#ifdef __AVX512VNNI__
constexpr int kSumsInRegisters = 24;
constexpr int kUnpackedSums = 25;
#else
constexpr int kSumsInRegisters = 8;
constexpr int kUnpackedSums = 12;
#endif

template <int kBits>
inline V::Ints low_bits(V::Ints v) {
  return V::bit_and(v, V::all_ints(0x01010101 * ((1 << kBits) - 1)));
}

// Two bits a weight: the prefixes v & 3, v & 15, v & 63 and v. The sums of two prefixes differ by 4^f times that of row block f.
struct VnniTwoBit {
  static constexpr PackedLayout kLayout{Packing::kTwoBit, 4 * V::kLanes, kStepCols};
  static constexpr int kExpanded = 4;
  static constexpr int32_t kRunCols = 131'072;
  static_assert(int64_t{64} * 2 * 128 * kRunCols <= int64_t{1} << 31);  // 4^3 u q, downwards

  static void expand(V::Ints v, V::Ints* w) {
    w[0] = low_bits<2>(v);
    w[1] = low_bits<4>(v);
    w[2] = low_bits<6>(v);
    w[3] = v;
  }
  static void combine(const V::Ints* sums, V::Ints* of_codes) {
    of_codes[0] = sums[0];
    of_codes[1] = V::shift_right<2>(V::subtract(sums[1], sums[0]));
    of_codes[2] = V::shift_right<4>(V::subtract(sums[2], sums[1]));
    of_codes[3] = V::shift_right<6>(V::subtract(sums[3], sums[2]));
  }
  static void unpack(V::Ints v, V::Ints* codes) {
    codes[0] = low_bits<2>(v);
    codes[1] = low_bits<2>(V::shift_right<2>(v));
    codes[2] = low_bits<2>(V::shift_right<4>(v));
    codes[3] = low_bits<2>(V::shift_right<6>(v));
  }
};

// Five base-3 digits a byte, as the fraction g: 3 g mod 256 is the fraction without its first digit, so that the digit is
// (3 g - (3 g mod 256)) / 256, and so are the sums.
struct VnniBase3 {
  static constexpr PackedLayout kLayout{Packing::kBase3, 5 * V::kLanes, kStepCols};
  static constexpr int kExpanded = 6;
  static constexpr int32_t kRunCols = 32'768;
  static_assert(int64_t{256} * 2 * 128 * kRunCols <= int64_t{1} << 31);  // 256 u q, downwards

  static V::Ints times3(V::Ints v) { return V::add_bytes(V::add_bytes(v, v), v); }

  static void expand(V::Ints v, V::Ints* w) {
    w[0] = v;
    for (int f = 1; f < kExpanded; ++f) {
      w[f] = times3(w[f - 1]);
    }
  }
  static void combine(const V::Ints* sums, V::Ints* of_codes) {
    for (int f = 0; f < 5; ++f) {
      const V::Ints triple = V::add(V::add(sums[f], sums[f]), sums[f]);
      of_codes[f] = V::shift_right<8>(V::subtract(triple, sums[f + 1]));
    }
  }
  // The digit is how many of 86 = ceil(256 / 3) and 171 = ceil(512 / 3) the fraction reaches.
  static void unpack(V::Ints v, V::Ints* codes) {
    for (int f = 0; f < 5; ++f) {
      codes[f] = V::add_bytes(V::exceeds(v, 85), V::exceeds(v, 170));
      v = times3(v);
    }
  }
};

// One bit a weight: the prefixes of 1 to 8 bits. The sums of two prefixes differ by 2^f times the sum over set bits, whose weights
// have the code 2.
struct VnniSign {
  static constexpr PackedLayout kLayout{Packing::kSign, 8 * V::kLanes, kStepCols};
  static constexpr int kExpanded = 8;
  static constexpr int32_t kRunCols = 131'072;
  static_assert(int64_t{128} * 128 * kRunCols <= int64_t{1} << 31);  // 2^7 q, downwards

  static void expand(V::Ints v, V::Ints* w) {
    w[0] = low_bits<1>(v);
    w[1] = low_bits<2>(v);
    w[2] = low_bits<3>(v);
    w[3] = low_bits<4>(v);
    w[4] = low_bits<5>(v);
    w[5] = low_bits<6>(v);
    w[6] = low_bits<7>(v);
    w[7] = v;
  }
  static void combine(const V::Ints* sums, V::Ints* of_codes) {
    of_codes[0] = V::add(sums[0], sums[0]);
    of_codes[1] = V::subtract(sums[1], sums[0]);
    of_codes[2] = V::shift_right<1>(V::subtract(sums[2], sums[1]));
    of_codes[3] = V::shift_right<2>(V::subtract(sums[3], sums[2]));
    of_codes[4] = V::shift_right<3>(V::subtract(sums[4], sums[3]));
    of_codes[5] = V::shift_right<4>(V::subtract(sums[5], sums[4]));
    of_codes[6] = V::shift_right<5>(V::subtract(sums[6], sums[5]));
    of_codes[7] = V::shift_right<6>(V::subtract(sums[7], sums[6]));
  }
};

constexpr int32_t kUnpackedSteps = 256;

// Codes that were unpacked to one a byte, times kTokens tokens: sums +=.
template <int kTokens, int kCount>
inline void multiply_unpacked(const V::Ints (*codes)[kCount], int32_t steps, Activations x,
                              V::Ints (*sums)[kCount]) {
  V::Ints acc[kTokens][kCount];
  for (int t = 0; t < kTokens; ++t) {
    for (int b = 0; b < kCount; ++b) {
      acc[t][b] = sums[t][b];
    }
  }
  for (int32_t step = 0; step < steps; ++step) {
    V::Ints four[kTokens];
    for (int t = 0; t < kTokens; ++t) {
      four[t] = x.four(t, step);
    }
    for (int b = 0; b < kCount; ++b) {
      const V::Ints w = V::load_ints(&codes[step][b]);
      for (int t = 0; t < kTokens; ++t) {
        add_products(acc[t][b], w, four[t]);
      }
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    for (int b = 0; b < kCount; ++b) {
      sums[t][b] = acc[t][b];
    }
  }
}

// The Kernel that x86_ternary.inl asks for.
template <class Format, int32_t kLimit>
struct Vnni {
  static constexpr PackedLayout kLayout = Format::kLayout;
  static constexpr int kCount = fields_of(kLayout.packing);
  static constexpr int kExpanded = Format::kExpanded;

  static constexpr int32_t kDirectLimit = kLimit;
  static constexpr int kDirectTokens = kSumsInRegisters / kExpanded;
  static constexpr int kDirectPanels = 2 * kExpanded <= kSumsInRegisters ? 2 : 1;

  template <int kPanels, int kTokens>
  static void multiply(Stream panels, Activations x, int32_t steps,
                       PanelSums<Vnni> (*out)[kTokens]) {
    constexpr int32_t kRun = Format::kRunCols / kStepCols;
    for (int32_t run = 0; run < steps; run += kRun) {
      multiply_run<kPanels, kTokens>(panels, x, run, at_most(steps, run + kRun), out);
    }
  }

  static constexpr int32_t kChunkSteps = kUnpackedSteps;
  static constexpr int kTokenTile = kUnpackedSums / kCount;

  static void unpack(const uint8_t* packed, int32_t steps, V::Ints (*codes)[kCount]) {
    for (int32_t step = 0; step < steps; ++step) {
      Format::unpack(V::load_ints(packed + step * kStepBytes), codes[step]);
    }
  }

  template <int kTokens>
  static void multiply_tile(const V::Ints (*codes)[kCount], int32_t steps, Activations x,
                            V::Ints (*sums)[kCount]) {
    multiply_unpacked<kTokens>(codes, steps, x, sums);
  }

 private:
  // Of one panel and kTokens tokens. Panels are written out where there may be two, because gcc 12 keeps what a loop over two
  // panels indexes in memory.
  template <int kTokens>
  using Sums = V::Ints[kTokens][kExpanded];

  template <int kTokens>
  static void clear(Sums<kTokens>& acc) {
    for (int t = 0; t < kTokens; ++t) {
      for (int e = 0; e < kExpanded; ++e) {
        acc[t][e] = V::all_ints(0);
      }
    }
  }

  template <int kTokens>
  static void add_step(const uint8_t* packed, const V::Ints (&four)[kTokens], Sums<kTokens>& acc) {
    V::Ints w[kExpanded];
    Format::expand(V::load_ints(packed), w);
    for (int e = 0; e < kExpanded; ++e) {
      for (int t = 0; t < kTokens; ++t) {
        add_products(acc[t][e], w[e], four[t]);
      }
    }
  }

  template <int kTokens>
  static void add_combined(const Sums<kTokens>& acc, PanelSums<Vnni>* out) {
    for (int t = 0; t < kTokens; ++t) {
      V::Ints of_codes[kCount];
      Format::combine(acc[t], of_codes);
      for (int b = 0; b < kCount; ++b) {
        out[t].block[b] = V::add(out[t].block[b], of_codes[b]);
      }
    }
  }

  template <int kPanels, int kTokens>
  static void multiply_step(Stream panels, Activations x, int32_t step, Sums<kTokens>* acc) {
    V::Ints four[kTokens];
    for (int t = 0; t < kTokens; ++t) {
      four[t] = x.four(t, step);
    }
    add_step<kTokens>(panels.at(0, step), four, acc[0]);
    if constexpr (kPanels == 2) {
      add_step<kTokens>(panels.at(1, step), four, acc[1]);
    }
  }

  template <int kPanels, int kTokens>
  static void multiply_run(Stream panels, Activations x, int32_t step, int32_t end,
                           PanelSums<Vnni> (*out)[kTokens]) {
    constexpr int32_t kStepsOfLine = 64 / kStepBytes;  // one prefetch a cache line
    Sums<kTokens> acc[kPanels];
    clear<kTokens>(acc[0]);
    clear<kTokens>(acc[kPanels - 1]);
    for (; step + kStepsOfLine <= end; step += kStepsOfLine) {
      prefetch(panels.at(0, step));
      if constexpr (kPanels == 2) {
        prefetch(panels.at(1, step));
      }
      for (int32_t i = 0; i < kStepsOfLine; ++i) {
        multiply_step<kPanels, kTokens>(panels, x, step + i, acc);
      }
    }
    if (step < end) {
      multiply_step<kPanels, kTokens>(panels, x, step, acc);
    }
    add_combined<kTokens>(acc[0], out[0]);
    if constexpr (kPanels == 2) {
      add_combined<kTokens>(acc[1], out[1]);
    }
  }
};
