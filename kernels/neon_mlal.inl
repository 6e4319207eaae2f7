// Ternary products by widening multiply and add (smlal), on every 64-bit ARM processor. Included inside the unnamed namespace of
// an instruction-set file, after neon_ternary.inl.
//
// Codes are at most 2 in magnitude (1 in base3 and sign) and activations 128, so that an int16 grows by 256 (128) a step: 124 (252)
// steps reach 31744 (32256) < 32767.

// Sums of a step's 16 products, each in an int16.
struct Products {
  int16x8_t low;
  int16x8_t high;

  void add(int8x16_t codes, int8x16_t four) {
    low = vmlal_s8(low, vget_low_s8(codes), vget_low_s8(four));
    high = vmlal_high_s8(high, codes, four);
  }
  // The four columns of each lane, joined.
  int32x4_t lanes() const { return vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)); }
};

template <class AnyFormat>
struct MlalDecoder {
  using Format = AnyFormat;
  static constexpr int32_t kRunSteps = 32767 / (128 * Format::kLargest) / kUnitSteps * kUnitSteps;
  static_assert(128 * Format::kLargest * kRunSteps <= 32767);

  struct Sums {
    Products field[Format::kFields];
  };

  template <int kLane>
  static void step(Sums& sums, uint8x16_t v, int8x16_t q) {
    const int8x16_t four = vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(q), kLane));
    int8x16_t codes[Format::kFields];
    Format::unpack(v, codes);
    for (int f = 0; f < Format::kFields; ++f) {
      sums.field[f].add(codes[f], four);
    }
  }

  static void resolve(const Sums& sums, int32x4_t* out) {
    for (int f = 0; f < Format::kFields; ++f) {
      out[f] = vaddq_s32(out[f], sums.field[f].lanes());
    }
  }
};

template <class AnyFormat>
struct MlalMultiplier {
  using Format = AnyFormat;
  static constexpr int kFields = Format::kFields;
  static constexpr int32_t kTokenTile =
      kFields <= 5 ? 2 : 1;  // 2 x 4 x 2 sums leave room in 32 registers
  static_assert(128 * Format::kLargest * kChunkSteps <= 32767);

  struct Chunk {
    int8x16_t codes[kChunkSteps][kFields];
  };

  static void unpack(const uint8_t* packed, int32_t steps, Chunk& chunk) {
    for (int32_t i = 0; i < steps; ++i) {
      Format::unpack(vld1q_u8(packed + i * kStepBytes), chunk.codes[i]);
    }
  }

  static size_t arranged_bytes(int32_t /*stride*/) { return 0; }
  static void arrange(const TokenBlock& /*tokens*/, int8_t* /*out*/) {}

  static void multiply(const Chunk& chunk, int32_t steps, const TokenBlock& tokens, int32_t col,
                       int32x4_t (*sums)[kFields]) {
    int32_t t = 0;
    for (; t + kTokenTile <= tokens.count; t += kTokenTile) {
      multiply_tile<kTokenTile>(chunk, steps, tokens.row(t) + col, tokens.x.stride, sums + t);
    }
    for (; t < tokens.count; ++t) {
      multiply_tile<1>(chunk, steps, tokens.row(t) + col, tokens.x.stride, sums + t);
    }
  }

 private:
  template <int kTokens>
  static void multiply_tile(const Chunk& chunk, int32_t steps, const int8_t* q, int64_t stride,
                            int32x4_t (*sums)[kFields]) {
    Products acc[kTokens][kFields] = {};
    for (int32_t i = 0; i < steps; ++i) {
      int8x16_t four[kTokens];
      for (int t = 0; t < kTokens; ++t) {
        int32_t word = 0;
        __builtin_memcpy(&word, q + t * stride + i * kStepCols, sizeof(word));
        four[t] = vreinterpretq_s8_s32(vdupq_n_s32(word));
      }
      for (int f = 0; f < kFields; ++f) {
        for (int t = 0; t < kTokens; ++t) {
          acc[t][f].add(chunk.codes[i][f], four[t]);
        }
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      for (int f = 0; f < kFields; ++f) {
        sums[t][f] = vaddq_s32(sums[t][f], acc[t][f].lanes());
      }
    }
  }
};
