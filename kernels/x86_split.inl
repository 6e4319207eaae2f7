// The rows of split heads. Included inside the unnamed namespace of an instruction-set file, after the operations on one block
// (avx512_split.inl or avx2_split.inl: SplitSum, add_split_block, joined; ScreenSum, screened_block, screened).

constexpr int32_t kSplitStreams = 4;  // rows walked at once
constexpr int32_t kSplitNear = 1024;  // bytes to prefetch ahead into L1
constexpr int32_t kSplitFar = 3072;   // and into L2

inline void prefetch_lines(const uint8_t* at, size_t bytes) {
  for (size_t line = 0; line < bytes; line += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(at + line), _MM_HINT_T0);
  }
}

inline void prefetch_ahead(const uint8_t* at, int32_t bytes) {
  for (int32_t line = 0; line < bytes; line += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(at + kSplitNear + line), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(at + kSplitFar + line), _MM_HINT_T1);
  }
}

// One row of each plane; `scales` and `halves` serve both.
struct SplitRow {
  const uint8_t* coarse;
  const uint8_t* fine;
  const uint8_t* scales;
  const uint8_t* halves;
};

inline SplitRow row_of(const SplitMatrix& w, int32_t row) {
  const uint8_t* coarse = w.coarse_row(row);
  return {coarse, w.fine_row(row), coarse + w.scales_at(), coarse + w.halves_at()};
}

inline void add_block(SplitSum& sum, const SplitRow& row, int32_t block, const float* d,
                      const SplitInputBlock& x) {
  add_split_block(sum, row.coarse + block * kCoarseBlockBytes, row.fine + block * kFineBlockBytes,
                  load_scales(row.scales + block * kSplitGroups), d, x);
}

constexpr int32_t kSplitSegment = 16;  // blocks whose d are made floats together

// Calls body(row, block, d) for kRows rows' blocks, all rows of a block in turn; d is times the input's unit.
template <int kRows, class Body>
inline void for_each_block(int32_t blocks, const SplitRow* rows, const float* units, Body body) {
  for (int32_t begin = 0; begin < blocks; begin += kSplitSegment) {
    const int32_t count = blocks - begin < kSplitSegment ? blocks - begin : kSplitSegment;
    float d[kRows][kSplitSegment];
    for (int r = 0; r < kRows; ++r) {
      load_d(rows[r].halves + 2 * begin, units + begin, count, d[r]);
    }
    for (int32_t b = begin; b < begin + count; ++b) {
#pragma GCC unroll 4  // sums then stay in registers
      for (int r = 0; r < kRows; ++r) {
        body(r, b, &d[r][b - begin]);
      }
    }
  }
}

struct SplitProduct {
  const SplitMatrix& w;
  const SplitInput* x;
  int32_t tokens;
  float* y;
  int64_t y_stride;
};

// What becomes of kRows rows and one input.
struct Exactly {
  template <int kRows, bool kStream>
  static void multiply(const SplitProduct& p, const SplitRow* rows, const SplitInput& x, float* y) {
    SplitSum sums[kRows];
    for_each_block<kRows>(p.w.blocks(), rows, x.units, [&](int r, int32_t b, const float* d) {
      if constexpr (kStream) {
        prefetch_ahead(rows[r].coarse + b * kCoarseBlockBytes, kCoarseBlockBytes);
        prefetch_ahead(rows[r].fine + b * kFineBlockBytes, kFineBlockBytes);
      }
      add_block(sums[r], rows[r], b, d, x.blocks[b]);
    });
    for (int r = 0; r < kRows; ++r) {
      y[r] = joined(sums[r]) * x.scale;
    }
  }
};

struct Roughly {
  template <int kRows, bool kStream>
  static void multiply(const SplitProduct& p, const SplitRow* rows, const SplitInput& x, float* y) {
    ScreenSum sums[kRows];
    for (int r = 0; r < kRows; ++r) {
      sums[r] = no_screen_sum();
    }
    for_each_block<kRows>(p.w.blocks(), rows, x.units, [&](int r, int32_t b, const float* d) {
      if constexpr (kStream) {
        prefetch_ahead(rows[r].coarse + b * kCoarseBlockBytes, kCoarseBlockBytes);
      }
      sums[r] = screened_block(sums[r], rows[r].coarse + b * kCoarseBlockBytes,
                               rows[r].scales + b * kSplitGroups, d, x.blocks[b]);
    });
    for (int r = 0; r < kRows; ++r) {
      y[r] = screened(sums[r]);
    }
  }
};

// kRows rows `step` apart, for all tokens: the first brings them into the cache.
template <int kRows, class How>
inline void multiply_split_rows(const SplitProduct& p, int32_t first, int32_t step) {
  SplitRow rows[kRows];
  for (int r = 0; r < kRows; ++r) {
    rows[r] = row_of(p.w, first + r * step);
    prefetch_lines(rows[r].scales, p.w.coarse_row_bytes() - p.w.scales_at());
  }
  for (int32_t t = 0; t < p.tokens; ++t) {
    float y[kRows];
    if (t == 0) {
      How::template multiply<kRows, true>(p, rows, p.x[t], y);
    } else {
      How::template multiply<kRows, false>(p, rows, p.x[t], y);
    }
    for (int r = 0; r < kRows; ++r) {
      p.y[t * p.y_stride + first + r * step] = y[r];
    }
  }
}

// Each stream walks its own part of the range from one end to the other; the rows left over follow.
template <class How>
void multiply_split(const SplitProduct& p, RowRange rows) {
  const int32_t part = (rows.end - rows.begin) / kSplitStreams;
  for (int32_t row = rows.begin; row < rows.begin + part; ++row) {
    multiply_split_rows<kSplitStreams, How>(p, row, part);
  }
  for (int32_t row = rows.begin + part * kSplitStreams; row < rows.end; ++row) {
    multiply_split_rows<1, How>(p, row, 0);
  }
}

void split_screen(const SplitMatrix& w, const SplitInput* x, int32_t tokens, RowRange rows,
                  float* y, int64_t y_stride) noexcept {
  multiply_split<Roughly>({w, x, tokens, y, y_stride}, rows);
}

void split_matmul(const SplitMatrix& w, const SplitInput* x, int32_t tokens, RowRange rows,
                  float* y, int64_t y_stride) noexcept {
  multiply_split<Exactly>({w, x, tokens, y, y_stride}, rows);
}

constexpr int32_t kSplitRowsAhead =
    3;  // listed rows lie anywhere: how many of them to prefetch ahead

inline void prefetch_line(const uint8_t* at) {
  _mm_prefetch(reinterpret_cast<const char*>(at), _MM_HINT_T0);
}

// The product of one row. While it is computed, the lines of a later row are asked for one by one: asked for together, they would
// fill the processor's queue of misses.
inline float row_product(const SplitMatrix& w, const SplitRow& row, const SplitRow& later,
                         const SplitInput& x) {
  const auto scale_bytes = static_cast<int32_t>(w.coarse_row_bytes() - w.scales_at());
  SplitSum sum;
  for_each_block<1>(w.blocks(), &row, x.units, [&](int, int32_t b, const float* d) {
    prefetch_line(later.coarse + b * kCoarseBlockBytes);
    prefetch_line(later.coarse + b * kCoarseBlockBytes + 64);
    prefetch_line(later.fine + b * kFineBlockBytes);
    if (64 * b < scale_bytes) {
      prefetch_line(later.scales + 64 * b);
    }
    add_block(sum, row, b, d, x.blocks[b]);
  });
  return joined(sum) * x.scale;
}

void split_rows(const SplitMatrix& w, const SplitInput& x, const int32_t* rows, int32_t count,
                float* y) noexcept {
  for (int32_t i = 0; i < count; ++i) {
    const int32_t later = i + kSplitRowsAhead < count ? i + kSplitRowsAhead : count - 1;
    y[rows[i]] = row_product(w, row_of(w, rows[i]), row_of(w, rows[later]), x);
  }
}
