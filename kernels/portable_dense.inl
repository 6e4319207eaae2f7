// Dense weights in plain C++. Included inside the unnamed namespace of portable.cpp.
//
// Formats: ggml's blocks. Every weight is a product of integers and halves that a float holds exactly; formats with a minimum
// (Q4_1, Q5_1, Q2_K, Q4_K, Q5_K) end in one addition or subtraction, rounded once. So all tables decode to the same bits.

void decode_f32(const uint8_t* in, int32_t n, float* out) {
  std::memcpy(out, in, static_cast<size_t>(n) * sizeof(float));
}

void decode_f16(const uint8_t* in, int32_t n, float* out) {
  for (int32_t i = 0; i < n; ++i) {
    out[i] = float_of_half(load<Half>(in + 2 * i));
  }
}

void decode_bf16(const uint8_t* in, int32_t n, float* out) {
  for (int32_t i = 0; i < n; ++i) {
    out[i] = std::bit_cast<float>(static_cast<uint32_t>(load<uint16_t>(in + 2 * i)) << 16);
  }
}

// Q8_0, 34 bytes of 32 weights: half d; int8 q[32]. w = d q.
void decode_q8_0(const uint8_t* in, int32_t n, float* out) {
  for (int32_t i = 0; i < n; i += 32, in += 34, out += 32) {
    const float d = float_of_half(load<Half>(in));
    for (int32_t j = 0; j < 32; ++j) {
      out[j] = d * static_cast<float>(static_cast<int8_t>(in[2 + j]));
    }
  }
}

// Q4_0, 18 bytes of 32 weights: half d; 16 bytes whose low nibbles are q[0..16), high nibbles q[16..32). w = d (q - 8).
void decode_q4_0(const uint8_t* in, int32_t n, float* out) {
  for (int32_t i = 0; i < n; i += 32, in += 18, out += 32) {
    const float d = float_of_half(load<Half>(in));
    for (int32_t j = 0; j < 16; ++j) {
      out[j] = d * static_cast<float>((in[2 + j] & 15) - 8);
      out[j + 16] = d * static_cast<float>((in[2 + j] >> 4) - 8);
    }
  }
}

// Q4_1, 20 bytes of 32 weights: half d, m; nibbles as in Q4_0. w = d q + m.
void decode_q4_1(const uint8_t* in, int32_t n, float* out) {
  for (int32_t i = 0; i < n; i += 32, in += 20, out += 32) {
    const float d = float_of_half(load<Half>(in));
    const float m = float_of_half(load<Half>(in + 2));
    for (int32_t j = 0; j < 16; ++j) {
      out[j] = d * static_cast<float>(in[4 + j] & 15) + m;
      out[j + 16] = d * static_cast<float>(in[4 + j] >> 4) + m;
    }
  }
}

// 32 codes of 5 bits: bit j of the word `high` is the top bit of code j, `nibbles` as in Q4_0.
void read_5_bits(const uint8_t* high, const uint8_t* nibbles, int32_t* q) {
  const auto top = load<uint32_t>(high);
  for (int32_t j = 0; j < 16; ++j) {
    q[j] = (nibbles[j] & 15) | static_cast<int32_t>((top >> j & 1) << 4);
    q[j + 16] = (nibbles[j] >> 4) | static_cast<int32_t>((top >> (j + 16) & 1) << 4);
  }
}

// Q5_0, 22 bytes of 32 weights: half d; 4 bytes of top bits; 16 of nibbles. w = d (q - 16).
void decode_q5_0(const uint8_t* in, int32_t n, float* out) {
  for (int32_t i = 0; i < n; i += 32, in += 22, out += 32) {
    const float d = float_of_half(load<Half>(in));
    int32_t q[32];
    read_5_bits(in + 2, in + 6, q);
    for (int32_t j = 0; j < 32; ++j) {
      out[j] = d * static_cast<float>(q[j] - 16);
    }
  }
}

// Q5_1, 24 bytes of 32 weights: half d, m; 4 bytes of top bits; 16 of nibbles. w = d q + m.
void decode_q5_1(const uint8_t* in, int32_t n, float* out) {
  for (int32_t i = 0; i < n; i += 32, in += 24, out += 32) {
    const float d = float_of_half(load<Half>(in));
    const float m = float_of_half(load<Half>(in + 2));
    int32_t q[32];
    read_5_bits(in + 4, in + 8, q);
    for (int32_t j = 0; j < 32; ++j) {
      out[j] = d * static_cast<float>(q[j]) + m;
    }
  }
}

// IQ4_NL, 18 bytes of 32 weights: half d; nibbles as in Q4_0, which choose a level. w = d level.
void decode_iq4_nl(const uint8_t* in, int32_t n, float* out) {
  for (int32_t i = 0; i < n; i += 32, in += 18, out += 32) {
    const float d = float_of_half(load<Half>(in));
    for (int32_t j = 0; j < 16; ++j) {
      out[j] = d * static_cast<float>(kIq4NlLevels[in[2 + j] & 15]);
      out[j + 16] = d * static_cast<float>(kIq4NlLevels[in[2 + j] >> 4]);
    }
  }
}

// MXFP4, 17 bytes of 32 weights: an exponent e; nibbles as in Q4_0, floats of 4 bits. w = 2^(e - 128) level, the levels being twice
// the floats.
void decode_mxfp4(const uint8_t* in, int32_t n, float* out) {
  for (int32_t i = 0; i < n; i += 32, in += 17, out += 32) {
    const float d = mxfp4_scale(in[0]);
    for (int32_t j = 0; j < 16; ++j) {
      out[j] = d * static_cast<float>(kMxfp4Levels[in[1 + j] & 15]);
      out[j + 16] = d * static_cast<float>(kMxfp4Levels[in[1 + j] >> 4]);
    }
  }
}

// Q2_K, 84 bytes of 256 weights: 16 bytes whose low nibbles are scales and high nibbles minima of 16 weights each; 2 x 32 bytes, whose
// field k is weights 32 k of a half; half d, dmin. w = d scale q - dmin min.
void decode_q2_k(const uint8_t* in, int32_t n, float* out) {
  for (int32_t i = 0; i < n; i += 256, in += 84) {
    const float d = float_of_half(load<Half>(in + 80));
    const float dmin = float_of_half(load<Half>(in + 82));
    for (int32_t part = 0; part < 16; ++part, out += 16) {
      const float scale = d * static_cast<float>(in[part] & 15);
      const float min = dmin * static_cast<float>(in[part] >> 4);
      const uint8_t* q = in + 16 + 32 * (part / 8) + 16 * (part % 2);
      const int shift = 2 * (part / 2 % 4);
      for (int32_t j = 0; j < 16; ++j) {
        out[j] = scale * static_cast<float>((q[j] >> shift) & 3) - min;
      }
    }
  }
}

// Q3_K, 110 bytes of 256 weights: 32 bytes whose bit k is the top bit of weights 32 k; 2 x 32 bytes of low bit pairs as in Q2_K; 12 of
// 6-bit scales, four to a field: nibbles of bytes 0-7, then bit pairs of bytes 8-11; half d. w = d (scale - 32) (q - 4).
void decode_q3_k(const uint8_t* in, int32_t n, float* out) {
  for (int32_t i = 0; i < n; i += 256, in += 110) {
    const float d = float_of_half(load<Half>(in + 108));
    const uint8_t* packed = in + 96;
    for (int32_t part = 0; part < 16; ++part, out += 16) {
      const int32_t low = (packed[part % 8] >> (4 * (part / 8))) & 15;
      const int32_t high = (packed[8 + part % 4] >> (2 * (part / 4))) & 3;
      const float scale = d * static_cast<float>((low | high << 4) - 32);
      const uint8_t* top = in + 16 * (part % 2);
      const uint8_t* q = in + 32 + 32 * (part / 8) + 16 * (part % 2);
      const int shift = 2 * (part / 2 % 4);
      for (int32_t j = 0; j < 16; ++j) {
        const int32_t code = ((q[j] >> shift) & 3) | ((top[j] >> (part / 2)) & 1) << 2;
        out[j] = scale * static_cast<float>(code - 4);
      }
    }
  }
}

// The 6-bit scale and minimum of sub-block j of a Q4_K or Q5_K block. Bytes 0-3 and 4-7 end in scales and minima 0-3; their top two
// bits are the top bits of scales and minima 4-7, whose low nibbles share bytes 8-11.
struct ScaleMin {
  int32_t scale;
  int32_t min;
};
ScaleMin q4_k_scale_min(const uint8_t* packed, int32_t j) {
  if (j < 4) {
    return {packed[j] & 63, packed[j + 4] & 63};
  }
  const uint8_t low = packed[j + 4];
  return {(low & 15) | ((packed[j - 4] >> 6) << 4), (low >> 4) | ((packed[j] >> 6) << 4)};
}

// Q4_K, 144 bytes of 256 weights: half d, dmin; 12 bytes of scales and minima; 4 x 32 bytes whose low nibbles are sub-block 2j
// and high nibbles sub-block 2j + 1. w = d scale q - dmin min.
void decode_q4_k(const uint8_t* in, int32_t n, float* out) {
  for (int32_t i = 0; i < n; i += 256, in += 144) {
    const float d = float_of_half(load<Half>(in));
    const float dmin = float_of_half(load<Half>(in + 2));
    for (int32_t sub = 0; sub < 8; ++sub, out += 32) {
      const ScaleMin sm = q4_k_scale_min(in + 4, sub);
      const float scale = d * static_cast<float>(sm.scale);
      const float min = dmin * static_cast<float>(sm.min);
      const uint8_t* q = in + 16 + 32 * (sub / 2);
      const int shift = 4 * (sub % 2);
      for (int32_t j = 0; j < 32; ++j) {
        out[j] = scale * static_cast<float>((q[j] >> shift) & 15) - min;
      }
    }
  }
}

// Q5_K, 176 bytes of 256 weights: as Q4_K, with 32 bytes before the nibbles whose bit k is the top bit of sub-block k.
void decode_q5_k(const uint8_t* in, int32_t n, float* out) {
  for (int32_t i = 0; i < n; i += 256, in += 176) {
    const float d = float_of_half(load<Half>(in));
    const float dmin = float_of_half(load<Half>(in + 2));
    for (int32_t sub = 0; sub < 8; ++sub, out += 32) {
      const ScaleMin sm = q4_k_scale_min(in + 4, sub);
      const float scale = d * static_cast<float>(sm.scale);
      const float min = dmin * static_cast<float>(sm.min);
      const uint8_t* q = in + 48 + 32 * (sub / 2);
      const int shift = 4 * (sub % 2);
      for (int32_t j = 0; j < 32; ++j) {
        const int32_t code = ((q[j] >> shift) & 15) | ((in[16 + j] >> sub) & 1) << 4;
        out[j] = scale * static_cast<float>(code) - min;
      }
    }
  }
}

// Q6_K, 210 bytes of 256 weights: low nibbles ql[128], top bit pairs qh[64], int8 scales of 16 weights each, half d.
// Half-block h, quarter k, position j: weight 128 h + 32 k + j has its nibble in ql[64 h + 32 (k % 2) + j] (high for k >= 2)
// and its top bits in field k of qh[32 h + j]. w = d scale (q - 32).
void decode_q6_k(const uint8_t* in, int32_t n, float* out) {
  for (int32_t i = 0; i < n; i += 256, in += 210) {
    uint8_t q[256];
    for (int32_t half = 0; half < 2; ++half) {
      const uint8_t* low = in + 64 * half;
      const uint8_t* high = in + 128 + 32 * half;
      uint8_t* to = q + 128 * half;
      for (int32_t j = 0; j < 32; ++j) {
        to[j] = static_cast<uint8_t>((low[j] & 15) | ((high[j] & 3) << 4));
        to[j + 32] = static_cast<uint8_t>((low[j + 32] & 15) | ((high[j] & 12) << 2));
        to[j + 64] = static_cast<uint8_t>((low[j] >> 4) | (high[j] & 48));
        to[j + 96] = static_cast<uint8_t>((low[j + 32] >> 4) | ((high[j] & 192) >> 2));
      }
    }
    const float d = float_of_half(load<Half>(in + 208));
    for (int32_t part = 0; part < 16; ++part, out += 16) {
      const float scale = d * static_cast<float>(static_cast<int8_t>(in[192 + part]));
      for (int32_t j = 0; j < 16; ++j) {
        out[j] = scale * static_cast<float>(q[16 * part + j] - 32);
      }
    }
  }
}

using DecodeFunction = void (*)(const uint8_t* in, int32_t n, float* out);
constexpr DecodeFunction kDecode[kDenseTypeCount] = {
    decode_f32,  decode_f16,  decode_bf16, decode_q8_0,   decode_q4_0,
    decode_q4_k, decode_q6_k, decode_q4_1, decode_q5_0,   decode_q5_1,
    decode_q2_k, decode_q3_k, decode_q5_k, decode_iq4_nl, decode_mxfp4};

constexpr int32_t kDenseChunk = 256;  // columns decoded at a time: a multiple of every block
constexpr int32_t kDenseRows = 16;    // rows decoded at a time

const uint8_t* dense_at(const DenseMatrix& w, int32_t row, int32_t col) {
  const DenseTypeInfo info = dense_type_info(w.type);
  return w.data + static_cast<size_t>(row) * w.row_bytes() +
         static_cast<size_t>(col / info.block_weights) * static_cast<size_t>(info.block_bytes);
}

// Sixteen sums side by side, joined at the end: four vectors of SSE2 or NEON.
float dot(const float* a, const float* b, int32_t n) {
  constexpr int32_t kSums = 16;
  float sums[kSums] = {};
  int32_t i = 0;
  for (; i + kSums <= n; i += kSums) {
    for (int32_t j = 0; j < kSums; ++j) {
      sums[j] += a[i + j] * b[i + j];
    }
  }
  for (int32_t j = 0; i < n; ++i, ++j) {
    sums[j] += a[i] * b[i];
  }
  for (int32_t width = kSums / 2; width > 0; width /= 2) {
    for (int32_t j = 0; j < width; ++j) {
      sums[j] += sums[j + width];
    }
  }
  return sums[0];
}

void dense_matmul(const DenseMatrix& w, const float* x, int32_t tokens, RowRange rows, float* y,
                  int64_t y_stride, uint8_t* scratch) noexcept {
  auto* decoded = reinterpret_cast<float*>(scratch);
  const DecodeFunction decode = kDecode[static_cast<int>(w.type)];
  for (int32_t row = rows.begin; row < rows.end; row += kDenseRows) {
    const int32_t count = rows.end - row < kDenseRows ? rows.end - row : kDenseRows;
    for (int32_t col = 0; col < w.cols; col += kDenseChunk) {
      const int32_t cols = w.cols - col < kDenseChunk ? w.cols - col : kDenseChunk;
      for (int32_t i = 0; i < count; ++i) {
        decode(dense_at(w, row + i, col), cols, decoded + i * kDenseChunk);
      }
      for (int32_t t = 0; t < tokens; ++t) {
        float* out = y + t * y_stride + row;
        for (int32_t i = 0; i < count; ++i) {
          const float part = dot(decoded + i * kDenseChunk, x + int64_t{t} * w.cols + col, cols);
          out[i] = col == 0 ? part : out[i] + part;
        }
      }
    }
  }
}

size_t dense_scratch_bytes(int32_t /*cols*/, int32_t /*tokens*/) noexcept {
  return sizeof(float) * kDenseRows * kDenseChunk;
}

void dense_row(const DenseMatrix& w, int32_t row, float* out) noexcept {
  kDecode[static_cast<int>(w.type)](dense_at(w, row, 0), w.cols, out);
}
