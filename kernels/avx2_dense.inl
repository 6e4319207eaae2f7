// Products with dense weights on AVX2. Included inside the unnamed namespace of avx2.cpp.
//
// Each output is summed in one order, whatever the number of tokens and however rows are split between threads: eight lanes over
// kDenseChunk columns by fused multiply-adds, the lanes joined pairwise, chunks added in turn. So a token's result does not
// depend on what else was in its batch.

constexpr int32_t kDenseChunk = 512;  // columns; a multiple of every block
constexpr int32_t kDenseRows = 8;     // rows decoded at a time: 16 KB of floats, half of L1
constexpr int32_t kRowTile = 4;
constexpr int32_t kTokenTile = 3;  // 4 x 3 sums, 3 activations and 1 weight fill the 16 registers
constexpr int32_t kDensePrefetch = 1024;

template <class T>
inline T load_bytes(const uint8_t* from) {
  T value;
  __builtin_memcpy(&value, from, sizeof(value));
  return value;
}

inline void prefetch(const uint8_t* p) {
  _mm_prefetch(reinterpret_cast<const char*>(p + kDensePrefetch), _MM_HINT_T0);
}

inline float half_at(const uint8_t* from) {
  return _cvtsh_ss(load_bytes<uint16_t>(from));
}

// ---- Number formats: eight weights from 8 * kBytes bytes, in registers.

struct F32 {
  static constexpr int32_t kBytes = 4;
  static __m256 load8(const uint8_t* p) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  }
  static float load1(const uint8_t* p) { return load_bytes<float>(p); }
};

struct F16 {
  static constexpr int32_t kBytes = 2;
  static __m256 load8(const uint8_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static float load1(const uint8_t* p) { return half_at(p); }
};

struct BF16 {
  static constexpr int32_t kBytes = 2;
  static __m256 load8(const uint8_t* p) {
    const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(eight), 16));
  }
  static float load1(const uint8_t* p) {
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(load_bytes<uint16_t>(p) << 16)));
  }
};

// The last n < 8 weights of a row, then zeros.
template <class Number>
inline __m256 load_tail(const uint8_t* p, int32_t n) {
  alignas(32) float padded[8] = {};
  for (int32_t i = 0; i < n; ++i) {
    padded[i] = Number::load1(p + i * Number::kBytes);
  }
  return _mm256_load_ps(padded);
}

inline __m256 load_activations(const float* x, int32_t n) {
  if (n >= 8) {
    return _mm256_loadu_ps(x);
  }
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_maskload_ps(x, _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane));
}

// ---- Block formats: whole blocks to floats. The layouts are described in portable.cpp; here is only how registers get them.
// Scale times integer is exact in a float, as is the fused product and difference of Q4_K up to its one rounding.

// Sixteen small integers, times `scale`, to floats.
inline void store16(__m128i int8s, __m256 scale, float* out) {
  const __m256 a = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(int8s));
  const __m256 b = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(int8s, int8s)));
  _mm256_storeu_ps(out, _mm256_mul_ps(a, scale));
  _mm256_storeu_ps(out + 8, _mm256_mul_ps(b, scale));
}

inline __m128i load16(const uint8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}

inline __m128i nibbles(__m128i bytes, bool high) {
  return _mm_and_si128(high ? _mm_srli_epi16(bytes, 4) : bytes, _mm_set1_epi8(15));
}

void decode_q8_0(const uint8_t* in, int32_t n, float* out) {
  for (int32_t i = 0; i < n; i += 32, in += 34, out += 32) {
    prefetch(in);
    const __m256 d = _mm256_set1_ps(half_at(in));
    store16(load16(in + 2), d, out);
    store16(load16(in + 18), d, out + 16);
  }
}

void decode_q4_0(const uint8_t* in, int32_t n, float* out) {
  const __m128i eight = _mm_set1_epi8(8);
  for (int32_t i = 0; i < n; i += 32, in += 18, out += 32) {
    prefetch(in);
    const __m256 d = _mm256_set1_ps(half_at(in));
    const __m128i bytes = load16(in + 2);
    store16(_mm_sub_epi8(nibbles(bytes, false), eight), d, out);
    store16(_mm_sub_epi8(nibbles(bytes, true), eight), d, out + 16);
  }
}

// 32 weights scale * q - min of 4-bit q.
inline void store_q4_k(const uint8_t* bytes, bool high, float scale, float min, float* out) {
  const __m256 scales = _mm256_set1_ps(scale);
  const __m256 mins = _mm256_set1_ps(min);
  for (int32_t i = 0; i < 32; i += 16) {
    const __m128i q = nibbles(load16(bytes + i), high);
    const __m256 a = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q));
    const __m256 b = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(q, q)));
    _mm256_storeu_ps(out + i, _mm256_fmsub_ps(scales, a, mins));
    _mm256_storeu_ps(out + i + 8, _mm256_fmsub_ps(scales, b, mins));
  }
}

void decode_q4_k(const uint8_t* in, int32_t n, float* out) {
  constexpr uint32_t kSixBits = 0x3F3F3F3F;
  constexpr uint32_t kFourBits = 0x0F0F0F0F;
  constexpr uint32_t kTopBits = 0x30303030;
  for (int32_t i = 0; i < n; i += 256, in += 144, out += 256) {
    prefetch(in);
    prefetch(in + 64);
    const float d = half_at(in);
    const float dmin = half_at(in + 2);
    // Eight scales and eight minima, four to a word.
    const auto a = load_bytes<uint32_t>(in + 4);
    const auto b = load_bytes<uint32_t>(in + 8);
    const auto c = load_bytes<uint32_t>(in + 12);
    const uint32_t scales[2] = {a & kSixBits, (c & kFourBits) | ((a >> 2) & kTopBits)};
    const uint32_t mins[2] = {b & kSixBits, ((c >> 4) & kFourBits) | ((b >> 2) & kTopBits)};
    for (int32_t sub = 0; sub < 8; ++sub) {
      const int shift = 8 * (sub % 4);
      const auto scale = static_cast<float>((scales[sub / 4] >> shift) & 63);
      const auto min = static_cast<float>((mins[sub / 4] >> shift) & 63);
      store_q4_k(in + 16 + 32 * (sub / 2), sub % 2 == 1, d * scale, dmin * min, out + 32 * sub);
    }
  }
}

void decode_q6_k(const uint8_t* in, int32_t n, float* out) {
  const __m128i offset = _mm_set1_epi8(32);
  const __m128i two_bits = _mm_set1_epi8(3);
  for (int32_t i = 0; i < n; i += 256, in += 210) {
    for (int32_t line = 0; line < 256; line += 64) {
      prefetch(in + line);
    }
    const float d = half_at(in + 208);
    for (int32_t part = 0; part < 16; ++part, out += 16) {
      const int32_t half = part / 8;
      const int32_t quarter = part / 2 % 4;
      const int32_t first = 16 * (part % 2);
      const __m128i low =
          nibbles(load16(in + 64 * half + 32 * (quarter % 2) + first), quarter >= 2);
      const __m128i packed = load16(in + 128 + 32 * half + first);
      const __m128i high =
          _mm_and_si128(_mm_srl_epi16(packed, _mm_cvtsi32_si128(2 * quarter)), two_bits);
      const __m128i q = _mm_sub_epi8(_mm_or_si128(low, _mm_slli_epi16(high, 4)), offset);
      const float scale = d * static_cast<float>(static_cast<int8_t>(in[192 + part]));
      store16(q, _mm256_set1_ps(scale), out);
    }
  }
}

template <class Number>
void decode_numbers(const uint8_t* in, int32_t n, float* out) {
  int32_t i = 0;
  for (; i + 8 <= n; i += 8) {
    _mm256_storeu_ps(out + i, Number::load8(in + i * Number::kBytes));
  }
  for (; i < n; ++i) {
    out[i] = Number::load1(in + i * Number::kBytes);
  }
}

using DecodeFunction = void (*)(const uint8_t* in, int32_t n, float* out);
constexpr DecodeFunction kDecode[kDenseTypeCount] = {
    decode_numbers<F32>, decode_numbers<F16>, decode_numbers<BF16>, decode_q8_0,
    decode_q4_0,         decode_q4_k,         decode_q6_k};

// ---- Products

struct Block {
  const uint8_t* w;  // rows `w_stride` bytes apart
  int64_t w_stride;
  int32_t rows;
  const float* x;  // tokens `x_stride` floats apart
  int64_t x_stride;
  int32_t tokens;
  int32_t cols;
  float* y;
  int64_t y_stride;
  bool first;  // chunk of a row: y is set, not added to
};

// Sums of the lanes of four vectors, in the order in which lane_sum joins one.
inline __m128 lane_sums(const __m256* v) {
  const __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
  return _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
}

inline float lane_sum(__m256 v) {
  const __m256 four[kRowTile] = {v, v, v, v};
  return _mm_cvtss_f32(lane_sums(four));
}

template <class Number, int kTileRows, int kTileTokens>
inline void multiply_add8(const Block& b, int32_t row, int32_t token, int32_t col, int32_t left,
                          __m256 (*acc)[kTileRows]) {
  __m256 x[kTileTokens];
  for (int t = 0; t < kTileTokens; ++t) {
    x[t] = load_activations(b.x + (token + t) * b.x_stride + col, left);
  }
  for (int r = 0; r < kTileRows; ++r) {
    const uint8_t* from = b.w + (row + r) * b.w_stride + int64_t{col} * Number::kBytes;
    const __m256 w = left >= 8 ? Number::load8(from) : load_tail<Number>(from, left);
    for (int t = 0; t < kTileTokens; ++t) {
      acc[t][r] = _mm256_fmadd_ps(w, x[t], acc[t][r]);
    }
  }
}

// kTileRows rows times kTileTokens tokens.
template <class Number, int kTileRows, int kTileTokens>
inline void dense_tile(const Block& b, int32_t row, int32_t token) {
  __m256 acc[kTileTokens][kTileRows];
  for (int t = 0; t < kTileTokens; ++t) {
    for (int r = 0; r < kTileRows; ++r) {
      acc[t][r] = _mm256_setzero_ps();
    }
  }
  constexpr int32_t kLine = 64 / Number::kBytes;  // columns
  int32_t col = 0;
  for (; col + 8 <= b.cols; col += 8) {
    if (kTileTokens == 1 && col % kLine == 0) {
      for (int r = 0; r < kTileRows; ++r) {
        prefetch(b.w + (row + r) * b.w_stride + int64_t{col} * Number::kBytes);
      }
    }
    multiply_add8<Number, kTileRows, kTileTokens>(b, row, token, col, 8, acc);
  }
  if (col < b.cols) {
    multiply_add8<Number, kTileRows, kTileTokens>(b, row, token, col, b.cols - col, acc);
  }
  for (int t = 0; t < kTileTokens; ++t) {
    float* y = b.y + (token + t) * b.y_stride + row;
    if constexpr (kTileRows == kRowTile) {
      const __m128 sums = lane_sums(acc[t]);
      _mm_storeu_ps(y, b.first ? sums : _mm_add_ps(_mm_loadu_ps(y), sums));
    } else {
      const float sum = lane_sum(acc[t][0]);
      *y = b.first ? sum : *y + sum;
    }
  }
}

template <class Number, int kTileTokens>
inline void dense_rows(const Block& b, int32_t token) {
  int32_t row = 0;
  for (; row + kRowTile <= b.rows; row += kRowTile) {
    dense_tile<Number, kRowTile, kTileTokens>(b, row, token);
  }
  for (; row < b.rows; ++row) {
    dense_tile<Number, 1, kTileTokens>(b, row, token);
  }
}

template <class Number>
void dense_block(const Block& b) {
  int32_t token = 0;
  for (; token + kTokenTile <= b.tokens; token += kTokenTile) {
    dense_rows<Number, kTokenTile>(b, token);
  }
  for (; token < b.tokens; ++token) {
    dense_rows<Number, 1>(b, token);
  }
}

void dense_matmul(const DenseMatrix& w, const float* x, int32_t tokens, RowRange rows, float* y,
                  int64_t y_stride, uint8_t* scratch) noexcept {
  const DenseTypeInfo info = dense_type_info(w.type);
  const auto row_bytes = static_cast<int64_t>(w.row_bytes());
  for (int32_t row = rows.begin; row < rows.end; row += kDenseRows) {
    const int32_t count = rows.end - row < kDenseRows ? rows.end - row : kDenseRows;
    for (int32_t col = 0; col < w.cols; col += kDenseChunk) {
      const int32_t cols = w.cols - col < kDenseChunk ? w.cols - col : kDenseChunk;
      const uint8_t* from =
          w.data + row * row_bytes + int64_t{col / info.block_weights} * info.block_bytes;
      Block b{from, row_bytes, count, x + col, w.cols, tokens, cols, y + row, y_stride, col == 0};
      // Numbers are multiplied as they are read, unless several tokens share the work of converting them.
      if (w.type == DenseType::kF32) {
        dense_block<F32>(b);
      } else if (w.type == DenseType::kF16 && tokens == 1) {
        dense_rows<F16, 1>(b, 0);
      } else if (w.type == DenseType::kBF16 && tokens == 1) {
        dense_rows<BF16, 1>(b, 0);
      } else {
        for (int32_t i = 0; i < count; ++i) {
          kDecode[static_cast<int>(w.type)](from + i * row_bytes, cols,
                                            reinterpret_cast<float*>(scratch) + i * kDenseChunk);
        }
        b.w = scratch;
        b.w_stride = kDenseChunk * static_cast<int64_t>(sizeof(float));
        dense_block<F32>(b);
      }
    }
  }
}

size_t dense_scratch_bytes(int32_t /*cols*/, int32_t /*tokens*/) noexcept {
  return sizeof(float) * kDenseRows * kDenseChunk;
}

void dense_row(const DenseMatrix& w, int32_t row, float* out) noexcept {
  kDecode[static_cast<int>(w.type)](w.data + static_cast<size_t>(row) * w.row_bytes(), w.cols, out);
}
