// Products with dense weights. Included inside the unnamed namespace of an instruction-set file, after dense_decode.inl.
//
// Each output is summed in one order, whatever the number of tokens and however rows are split between threads: kVecLanes lanes over
// kDenseChunk columns by fused multiply-adds, the lanes joined pairwise, chunks added in turn. So a token's result does not
// depend on what else was in its batch.

constexpr int32_t kDenseChunk = 512;  // columns; a multiple of every block
constexpr int32_t kRowTile = 4;

inline float lane_sum(Vec v) {
  const Vec four[kRowTile] = {v, v, v, v};
  return V::lane_sums(four)[0];
}

// ---- One token: weights are multiplied as they are read.

constexpr int32_t kDenseNear = 1024;  // bytes to prefetch ahead into L1
constexpr int32_t kDenseFar = 3072;   // and into L2

// kStreams rows' next blocks, and the sums of the chunk at hand.
template <int kStreams>
struct Streams {
  const uint8_t* at[kStreams];
  Vec acc[kStreams];
};

inline void prefetch_block(const uint8_t* block, int32_t bytes) {
  for (int32_t line = 0; line < bytes; line += 64) {
    __builtin_prefetch(block + kDenseNear + line, 0, 3);
    __builtin_prefetch(block + kDenseFar + line, 0, 2);
  }
}

// One block of each row, 32 columns at a time: rows take turns, so that their sums do not wait for one another.
template <class Format, int kStreams, int kPart = 0>
inline void multiply_parts(const typename Format::Scales* scales, const float* x,
                           Streams<kStreams>& s) {
  for (int r = 0; r < kStreams; ++r) {
    Vec w[kParts];
    Format::template load32<kPart>(s.at[r], scales[r], w);
    for (int i = 0; i < kParts; ++i) {
      s.acc[r] = V::fmadd(w[i], V::load(x + 32 * kPart + kVecLanes * i), s.acc[r]);
    }
  }
  if constexpr (32 * (kPart + 1) < Format::kWeights) {
    multiply_parts<Format, kStreams, kPart + 1>(scales, x, s);
  }
}

template <class Format, int kStreams>
inline void multiply_blocks(const float* x, int32_t cols, Streams<kStreams>& s) {
  int32_t col = 0;
  for (; col + Format::kWeights <= cols; col += Format::kWeights) {
    typename Format::Scales scales[kStreams];
    for (int r = 0; r < kStreams; ++r) {
      prefetch_block(s.at[r], Format::kBytes);
      scales[r] = Format::scales(s.at[r]);
    }
    multiply_parts<Format, kStreams>(scales, x + col, s);
    for (int r = 0; r < kStreams; ++r) {
      s.at[r] += Format::kBytes;
    }
  }
  if constexpr (requires { typename Format::Number; }) {
    using Number = typename Format::Number;
    for (; col < cols; col += kVecLanes) {
      for (int r = 0; r < kStreams; ++r) {
        const int32_t left = cols - col;
        const Vec w = left >= kVecLanes ? Number::load(s.at[r]) : load_tail<Number>(s.at[r], left);
        s.acc[r] = V::fmadd(w, load_activations(x + col, left), s.acc[r]);
        s.at[r] += (left < kVecLanes ? left : kVecLanes) * Number::kBytes;
      }
    }
  }
}

// y[r] = x . row r for kStreams rows of `cols` weights, given where they begin.
template <class Format, int kStreams>
inline void one_token_rows(Streams<kStreams> s, const float* x, int32_t cols, float* y) {
  for (int32_t col = 0; col < cols; col += kDenseChunk) {
    for (int r = 0; r < kStreams; ++r) {
      s.acc[r] = V::zero();
    }
    const int32_t width = cols - col < kDenseChunk ? cols - col : kDenseChunk;
    multiply_blocks<Format, kStreams>(x + col, width, s);
    for (int r = 0; r < kStreams; ++r) {
      const float sum = lane_sum(s.acc[r]);
      y[r] = col == 0 ? sum : y[r] + sum;
    }
  }
}

// Four rows at a time, a quarter of the range apart: each stream then reads memory from one end to the other, which is what
// prefetching, by hardware or by hand, serves best.
template <class Format>
void one_token(const DenseMatrix& w, const float* x, RowRange rows, float* y) {
  const int32_t quarter = (rows.end - rows.begin) / kRowTile;
  const size_t row_bytes = w.row_bytes();
  const auto row_at = [&](int32_t row) { return w.data + static_cast<size_t>(row) * row_bytes; };
  for (int32_t row = rows.begin; row < rows.begin + quarter; ++row) {
    Streams<kRowTile> s;
    for (int r = 0; r < kRowTile; ++r) {
      s.at[r] = row_at(row + r * quarter);
    }
    float sums[kRowTile] = {};
    one_token_rows<Format, kRowTile>(s, x, w.cols, sums);
    for (int r = 0; r < kRowTile; ++r) {
      y[row + r * quarter] = sums[r];
    }
  }
  for (int32_t row = rows.begin + kRowTile * quarter; row < rows.end; ++row) {
    Streams<1> s;
    s.at[0] = row_at(row);
    one_token_rows<Format, 1>(s, x, w.cols, y + row);
  }
}

using OneTokenFunction = void (*)(const DenseMatrix& w, const float* x, RowRange rows, float* y);
constexpr OneTokenFunction kOneToken[kDenseTypeCount] = {
    one_token<Numbers<F32>>, one_token<Numbers<F16>>, one_token<Numbers<BF16>>, one_token<Q8_0>,
    one_token<Q4_0>,         one_token<Q4K>,          one_token<Q6K>,           one_token<Q4_1>,
    one_token<Q5_0>,         one_token<Q5_1>,         one_token<Q2K>,           one_token<Q3K>,
    one_token<Q5K>,          one_token<IQ4NL>,        one_token<MXFP4>};

// ---- Several tokens share the work of decoding: a block of rows and columns becomes floats in scratch memory.

constexpr int32_t kDenseRows = 8;  // 16 KB of floats, half of L1

struct DenseScratch {
  alignas(64) float w[kDenseRows][kDenseChunk];
};

struct Tokens {
  const float* x;  // `x_stride` floats apart
  int64_t x_stride;
  float* y;
  int64_t y_stride;

  Tokens from(int32_t token) const {
    return {x + token * x_stride, x_stride, y + token * y_stride, y_stride};
  }
};

// y (+)= kTileRows decoded rows times kTileTokens tokens.
template <int kTileRows, int kTileTokens>
inline void dense_tile(const float (*w)[kDenseChunk], int32_t cols, bool first, const Tokens& tk) {
  Vec acc[kTileTokens][kTileRows];
  for (int t = 0; t < kTileTokens; ++t) {
    for (int r = 0; r < kTileRows; ++r) {
      acc[t][r] = V::zero();
    }
  }
  for (int32_t col = 0; col < cols; col += kVecLanes) {
    Vec x[kTileTokens];
    for (int t = 0; t < kTileTokens; ++t) {
      x[t] = load_activations(tk.x + t * tk.x_stride + col, cols - col);
    }
    for (int r = 0; r < kTileRows; ++r) {
      const Vec weights = V::load(w[r] + col);
      for (int t = 0; t < kTileTokens; ++t) {
        acc[t][r] = V::fmadd(weights, x[t], acc[t][r]);
      }
    }
  }
  for (int t = 0; t < kTileTokens; ++t) {
    float* y = tk.y + t * tk.y_stride;
    if constexpr (kTileRows == kRowTile) {
      const auto sums = V::lane_sums(acc[t]);
      for (int r = 0; r < kTileRows; ++r) {
        y[r] = first ? sums[r] : y[r] + sums[r];
      }
    } else {
      const float sum = lane_sum(acc[t][0]);
      *y = first ? sum : *y + sum;
    }
  }
}

template <int kTileTokens>
inline void dense_rows(const DenseScratch& s, int32_t rows, int32_t cols, bool first,
                       const Tokens& tk) {
  int32_t row = 0;
  for (; row + kRowTile <= rows; row += kRowTile) {
    dense_tile<kRowTile, kTileTokens>(s.w + row, cols, first,
                                      {tk.x, tk.x_stride, tk.y + row, tk.y_stride});
  }
  for (; row < rows; ++row) {
    dense_tile<1, kTileTokens>(s.w + row, cols, first,
                               {tk.x, tk.x_stride, tk.y + row, tk.y_stride});
  }
}

// All tokens: tiles of kTileTokens, then what is left in smaller ones.
template <int kTileTokens>
void dense_tokens(const DenseScratch& s, int32_t rows, int32_t cols, bool first, const Tokens& tk,
                  int32_t count) {
  int32_t t = 0;
  for (; t + kTileTokens <= count; t += kTileTokens) {
    dense_rows<kTileTokens>(s, rows, cols, first, tk.from(t));
  }
  if constexpr (kTileTokens > 1) {
    dense_tokens<kTileTokens / 2>(s, rows, cols, first, tk.from(t), count - t);
  }
}

void decode_rows(const DenseMatrix& w, RowRange rows, int32_t col, int32_t cols, DenseScratch& s) {
  const DenseTypeInfo info = dense_type_info(w.type);
  for (int32_t row = rows.begin; row < rows.end; ++row) {
    const uint8_t* from = w.data + static_cast<size_t>(row) * w.row_bytes() +
                          int64_t{col / info.block_weights} * info.block_bytes;
    float* out = s.w[row - rows.begin];
    kDecode[static_cast<int>(w.type)](from, cols, out);
    for (int32_t i = cols; i % kVecLanes != 0; ++i) {
      out[i] = 0.0F;
    }
  }
}

void many_tokens(const DenseMatrix& w, RowRange rows, int32_t count, const Tokens& all,
                 DenseScratch& s) {
  for (int32_t row = rows.begin; row < rows.end; row += kDenseRows) {
    const int32_t end = rows.end - row < kDenseRows ? rows.end : row + kDenseRows;
    for (int32_t col = 0; col < w.cols; col += kDenseChunk) {
      const int32_t cols = w.cols - col < kDenseChunk ? w.cols - col : kDenseChunk;
      const Tokens tokens{all.x + col, all.x_stride, all.y + row, all.y_stride};
      decode_rows(w, {row, end}, col, cols, s);
      dense_tokens<V::kTokenTile>(s, end - row, cols, col == 0, tokens, count);
    }
  }
}

void dense_matmul(const DenseMatrix& w, const float* x, int32_t tokens, RowRange rows, float* y,
                  int64_t y_stride, uint8_t* scratch) noexcept {
  if (tokens == 1) {
    kOneToken[static_cast<int>(w.type)](w, x, rows, y);
    return;
  }
  many_tokens(w, rows, tokens, {x, w.cols, y, y_stride}, *reinterpret_cast<DenseScratch*>(scratch));
}

size_t dense_scratch_bytes(int32_t /*cols*/, int32_t /*tokens*/) noexcept {
  return sizeof(DenseScratch);
}

void dense_row(const DenseMatrix& w, int32_t row, float* out) noexcept {
  kDecode[static_cast<int>(w.type)](w.data + static_cast<size_t>(row) * w.row_bytes(), w.cols, out);
}
