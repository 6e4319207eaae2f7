// The rows of split heads. Included inside the unnamed namespace of an instruction-set file, after the operations on one block
// (avx512_split.inl or avx2_split.inl: SplitSum, add_coarse_block, add_fine_block, joined).

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

struct SplitSums {
  SplitSum coarse;
  SplitSum fine;
};

constexpr int32_t kSplitSegment = 16;  // blocks whose d are made floats together

template <bool kCoarse, bool kFine>
inline void add_block(SplitSums& sums, const SplitRow& row, int32_t block, const float* d,
                      const SplitInputBlock& x) {
  const SplitScales scales = load_scales(row.scales + block * kSplitGroups);
  if constexpr (kCoarse) {
    add_coarse_block(sums.coarse, row.coarse + block * kCoarseBlockBytes, scales, d, x);
  }
  if constexpr (kFine) {
    add_fine_block(sums.fine, row.fine + block * kFineBlockBytes, scales, d, x);
  }
}

// The sums of kRows rows. A block of the input stays in registers for all of them. `kStream`: what lies ahead of the rows will be
// read next.
template <int kRows, bool kCoarse, bool kFine, bool kStream>
inline void add_rows(int32_t blocks, const SplitRow* rows, const SplitInput& x, SplitSums* sums) {
  for (int32_t begin = 0; begin < blocks; begin += kSplitSegment) {
    const int32_t count = blocks - begin < kSplitSegment ? blocks - begin : kSplitSegment;
    float d[kRows][kSplitSegment];
    for (int r = 0; r < kRows; ++r) {
      load_d(rows[r].halves + 2 * begin, count, d[r]);
    }
    for (int32_t b = begin; b < begin + count; ++b) {
      for (int r = 0; r < kRows; ++r) {
        if constexpr (kStream && kCoarse) {
          prefetch_ahead(rows[r].coarse + b * kCoarseBlockBytes, kCoarseBlockBytes);
        }
        if constexpr (kStream && kFine) {
          prefetch_ahead(rows[r].fine + b * kFineBlockBytes, kFineBlockBytes);
        }
        add_block<kCoarse, kFine>(sums[r], rows[r], b, &d[r][b - begin], x.blocks[b]);
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

// kRows rows `step` apart, for all tokens: the first brings them into the cache.
template <int kRows, bool kFine>
inline void multiply_split_rows(const SplitProduct& p, int32_t first, int32_t step) {
  SplitRow rows[kRows];
  for (int r = 0; r < kRows; ++r) {
    rows[r] = row_of(p.w, first + r * step);
    prefetch_lines(rows[r].scales, p.w.coarse_row_bytes() - p.w.scales_at());
  }
  for (int32_t t = 0; t < p.tokens; ++t) {
    SplitSums sums[kRows];
    if (t == 0) {
      add_rows<kRows, true, kFine, true>(p.w.blocks(), rows, p.x[t], sums);
    } else {
      add_rows<kRows, true, kFine, false>(p.w.blocks(), rows, p.x[t], sums);
    }
    for (int r = 0; r < kRows; ++r) {
      float y = joined(sums[r].coarse);
      if constexpr (kFine) {
        y = (y + joined(sums[r].fine)) * p.x[t].scale;
      }
      p.y[t * p.y_stride + first + r * step] = y;
    }
  }
}

// Each stream walks its own part of the range from one end to the other; the rows left over follow.
template <bool kFine>
void multiply_split(const SplitProduct& p, RowRange rows) {
  const int32_t part = (rows.end - rows.begin) / kSplitStreams;
  for (int32_t row = rows.begin; row < rows.begin + part; ++row) {
    multiply_split_rows<kSplitStreams, kFine>(p, row, part);
  }
  for (int32_t row = rows.begin + part * kSplitStreams; row < rows.end; ++row) {
    multiply_split_rows<1, kFine>(p, row, 0);
  }
}

void split_coarse(const SplitMatrix& w, const SplitInput* x, int32_t tokens, RowRange rows,
                  float* y, int64_t y_stride) noexcept {
  multiply_split<false>({w, x, tokens, y, y_stride}, rows);
}

void split_matmul(const SplitMatrix& w, const SplitInput* x, int32_t tokens, RowRange rows,
                  float* y, int64_t y_stride) noexcept {
  multiply_split<true>({w, x, tokens, y, y_stride}, rows);
}

constexpr int32_t kSplitRowsAhead =
    3;  // listed rows lie anywhere: how many of them to prefetch ahead

// The fine sum of one row. While it is computed, the lines of a later row are asked for one by one: asked for together, they would
// fill the processor's queue of misses.
inline float fine_row_sum(const SplitMatrix& w, const SplitRow& row, const SplitRow& later,
                          const SplitInput& x) {
  const int32_t blocks = w.blocks();
  const auto scale_bytes = static_cast<int32_t>(w.coarse_row_bytes() - w.scales_at());
  SplitSum sum;
  for (int32_t begin = 0; begin < blocks; begin += kSplitSegment) {
    const int32_t count = blocks - begin < kSplitSegment ? blocks - begin : kSplitSegment;
    float d[kSplitSegment];
    load_d(row.halves + 2 * begin, count, d);
    for (int32_t b = begin; b < begin + count; ++b) {
      const int32_t line = 64 * b;
      _mm_prefetch(reinterpret_cast<const char*>(later.fine + line), _MM_HINT_T0);
      if (line < scale_bytes) {
        _mm_prefetch(reinterpret_cast<const char*>(later.scales + line), _MM_HINT_T0);
      }
      add_fine_block(sum, row.fine + b * kFineBlockBytes,
                     load_scales(row.scales + b * kSplitGroups), &d[b - begin], x.blocks[b]);
    }
  }
  return joined(sum);
}

void split_fine(const SplitMatrix& w, const SplitInput& x, const int32_t* rows, int32_t count,
                const float* coarse, float* y) noexcept {
  for (int32_t i = 0; i < count; ++i) {
    const int32_t later = i + kSplitRowsAhead < count ? i + kSplitRowsAhead : count - 1;
    const float fine = fine_row_sum(w, row_of(w, rows[i]), row_of(w, rows[later]), x);
    y[rows[i]] = (coarse[rows[i]] + fine) * x.scale;
  }
}
