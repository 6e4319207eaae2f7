// Attention by blocks with an online softmax, one instantiation per instruction set. Included inside the unnamed namespace of an
// instruction-set file, after batch.inl.
//
// Both products are sums of lines (kv.h) times one number each: scores += q[d] * line of dimension d, out += weight[p] * line of
// position p. A few query rows share each line as it is loaded; with more rows than that, lines are first decoded to floats,
// once. Every row is computed by the same operations in the same order, whichever rows stand beside it.

// How many rows share a line: as many as registers allow.
template <class F>
inline constexpr int32_t kSharingRows = F::size == 16 ? 8 : 6;

// Numbers of a kv cache, or floats decoded from it, as vectors. A source gives `Number` and load().
template <class F>
struct FloatLines {
  using Number = float;
  static F load(const float* p) { return F::load_unaligned(p); }
};

// sums[r] = a[r][0] * line 0 + a[r][1] * line 1 + ... + sums[r], for kRows rows and `count` lines.
template <class F, class Source, int kRows>
[[gnu::flatten]] void add_lines(const float* const* a, const typename Source::Number* lines,
                                int32_t count, float* const* sums) {
  constexpr int32_t kWidth = Batch<F>::kWidth;
  constexpr int32_t kLineParts = kKvLine / kWidth;
  constexpr int64_t kAhead = 2048;  // bytes to prefetch ahead
  F acc[kRows][kLineParts];
  for (int r = 0; r < kRows; ++r) {
    for (int part = 0; part < kLineParts; ++part) {
      acc[r][part] = F::load_unaligned(sums[r] + part * kWidth);
    }
  }
  for (int32_t i = 0; i < count; ++i) {
    const typename Source::Number* line = lines + int64_t{i} * kKvLine;
    if constexpr (sizeof(*line) < sizeof(float)) {  // decoded lines are in L1
      __builtin_prefetch(reinterpret_cast<const char*>(line) + kAhead);
    }
    F x[kLineParts];
    for (int part = 0; part < kLineParts; ++part) {
      x[part] = Source::load(line + part * kWidth);
    }
    for (int r = 0; r < kRows; ++r) {
      const F factor(a[r][i]);
      for (int part = 0; part < kLineParts; ++part) {
        acc[r][part] = fma(factor, x[part], acc[r][part]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int part = 0; part < kLineParts; ++part) {
      acc[r][part].store_unaligned(sums[r] + part * kWidth);
    }
  }
}

// The same for 1 to kSharingRows rows.
template <class F, class Source, int kRows = kSharingRows<F>>
void add_lines_of(int32_t rows, const float* const* a, const typename Source::Number* lines,
                  int32_t count, float* const* sums) {
  if constexpr (kRows > 1) {
    if (rows < kRows) {
      return add_lines_of<F, Source, kRows - 1>(rows, a, lines, count, sums);
    }
  }
  add_lines<F, Source, kRows>(a, lines, count, sums);
}

// Decodes `count` lines to floats.
template <class F, class Source>
[[gnu::flatten]] void decode_lines(const typename Source::Number* lines, int32_t count,
                                   float* out) {
  for (int64_t i = 0; i < int64_t{count} * kKvLine; i += Batch<F>::kWidth) {
    Source::load(lines + i).store_unaligned(out + i);
  }
}

// out[i] = a[i] * b[i] for `count` numbers, a multiple of kKvLine; b: halves.
template <class F, class Halves>
[[gnu::flatten]] void scale_by(const float* a, const Half* b, int32_t count, float* out) {
  for (int32_t i = 0; i < count; i += Batch<F>::kWidth) {
    (F::load_unaligned(a + i) * Halves::load(b + i)).store_unaligned(out + i);
  }
}
// out[i] += a[i] * b[i].
template <class F, class Halves>
[[gnu::flatten]] void add_scaled_by(const float* a, const Half* b, int32_t count, float* out) {
  for (int32_t i = 0; i < count; i += Batch<F>::kWidth) {
    fma(F::load_unaligned(a + i), Halves::load(b + i), F::load_unaligned(out + i))
        .store_unaligned(out + i);
  }
}

// Positions [begin, end) of a block.
struct BlockPart {
  int32_t begin, end;
  bool operator==(const BlockPart&) const = default;
};

// A block's scores become weights exp(score * scale - max) with the maximum so far, and what was summed under a smaller maximum
// shrinks. Only scores of the part that is seen exist.
template <class F>
[[gnu::flatten]] void softmax_block(float* scores, BlockPart seen, float scale,
                                    const AttentionState& state, int32_t dims) {
  constexpr int32_t kWidth = Batch<F>::kWidth;
  for (int32_t i = 0; i < seen.begin; ++i) {
    scores[i] = -__builtin_inff();
  }
  for (int32_t i = seen.end; i < kKvBlock; ++i) {
    scores[i] = -__builtin_inff();
  }
  F maxima = F::load_unaligned(scores) * F(scale);
  maxima.store_unaligned(scores);
  for (int32_t i = kWidth; i < kKvBlock; i += kWidth) {
    const F scaled = F::load_unaligned(scores + i) * F(scale);
    scaled.store_unaligned(scores + i);
    maxima = max(maxima, scaled);
  }
  const float before = *state.max;
  const float block_max = Batch<F>::max(maxima);
  const float now = block_max > before ? block_max : before;
  F sums(0.0F);
  for (int32_t i = 0; i < kKvBlock; i += kWidth) {
    const F weight = exp(F::load_unaligned(scores + i) - F(now));
    weight.store_unaligned(scores + i);
    sums = sums + weight;
  }
  const F shrink = exp(F(before - now));
  float factor[kWidth];
  shrink.store_unaligned(factor);
  *state.sum = *state.sum * factor[0] + Batch<F>::sum(sums);
  *state.max = now;
  if (now != before) {
    for (int32_t i = 0; i < dims; i += kWidth) {
      (F::load_unaligned(state.out + i) * shrink).store_unaligned(state.out + i);
    }
  }
}

// One call's rows and its scratch memory.
template <class F, class Halves, class Bytes>
class BlockAttention {
 public:
  BlockAttention(const AttentionQueries& queries, const KvLayout& layout, float* states,
                 uint8_t* scratch)
      : queries_(queries),
        layout_(layout),
        states_(states),
        scores_(reinterpret_cast<float*>(scratch)),
        weights_(scores_ + int64_t{rows()} * kKvBlock),
        decoded_(weights_ + int64_t{rows()} * kKvBlock),
        rows_(reinterpret_cast<Row*>(decoded_ + attention_line_floats(layout))) {
    for (int32_t row = 0; row < rows(); ++row) {
      const int32_t token = row / queries.heads;
      const int64_t head = row % queries.heads;
      rows_[row].q = queries.q + token * queries.token_stride + head * layout.dims;
      rows_[row].begin = queries.first_seen(token);
      rows_[row].end = queries.first_position + token + 1;
    }
  }

  void run(const uint8_t* blocks, int32_t begin, int32_t end) {
    clear_states();
    for (int32_t first = begin; first < end; first += kKvBlock) {
      const uint8_t* block = blocks + static_cast<size_t>(first / kKvBlock) * layout_.block_bytes();
      const int32_t count = end - first < kKvBlock ? end - first : kKvBlock;
      if (layout_.type == KvType::kF16) {
        add_block<Halves>(block, first, count);
      } else {
        add_block<Bytes>(block, first, count);
      }
    }
  }

 private:
  using Row = AttentionRow;
  static constexpr int32_t kShare = kSharingRows<F>;

  int32_t rows() const { return queries_.tokens * queries_.heads; }
  float* scores(int32_t row) { return scores_ + int64_t{row} * kKvBlock; }
  AttentionState state(int32_t row) {
    return attention_state(states_ + row * attention_state_floats(layout_));
  }
  // Of the `count` positions from `first` on, those that this row sees, which are some: it is between first_row and last_row.
  BlockPart visible(int32_t row, int32_t first, int32_t count) const {
    const int32_t begin = rows_[row].begin - first;
    const int32_t end = rows_[row].end - first;
    return {begin < 0 ? 0 : begin, end < count ? end : count};
  }
  int32_t row_of(int32_t token) const {
    return token < 0 ? 0 : token < queries_.tokens ? token * queries_.heads : rows();
  }
  // The first row that sees position `first`, were its window large enough.
  int32_t first_row(int32_t first) const { return row_of(first - queries_.first_position); }
  // The row after the last whose window reaches back to position `last`.
  int32_t end_row(int32_t last) const {
    return queries_.window == 0 ? rows() : row_of(last - queries_.first_position + queries_.window);
  }

  void clear_states() {
    for (int32_t row = 0; row < rows(); ++row) {
      const AttentionState s = state(row);
      *s.max = -__builtin_inff();
      *s.sum = 0.0F;
      __builtin_memset(s.out, 0, sizeof(float) * layout_.slabs() * kKvLine);
    }
  }

  template <class Source>
  void add_block(const uint8_t* block, int32_t first, int32_t count) {
    for (int32_t tile = 0; tile * kKvLine < count; ++tile) {
      score_tile<Source>(block, tile, first + tile * kKvLine);
    }
    const int32_t from = first_row(first);
    const int32_t until = end_row(first + count - 1);
    for (int32_t row = from; row < until; ++row) {
      softmax_block<F>(scores(row), visible(row, first, count), queries_.scale, state(row),
                       layout_.slabs() * kKvLine);
    }
    for (int32_t slab = 0; slab < layout_.slabs(); ++slab) {
      sum_slab<Source>(block, slab, {from, until}, first, count);
    }
  }

  // Lines as they are for few rows, decoded for many.
  template <class Source, class Body>
  void with_lines(const typename Source::Number* lines, int32_t count, int32_t users, Body body) {
    if (users <= kShare) {
      body.template operator()<Source>(lines);
    } else {
      decode_lines<F, Source>(lines, count, decoded_);
      body.template operator()<FloatLines<F>>(decoded_);
    }
  }

  // Scores of the rows that see a tile of 16 positions, the first of which is `first`.
  template <class Source>
  void score_tile(const uint8_t* block, int32_t tile, int32_t first) {
    const int32_t from = first_row(first);
    const int32_t until = end_row(first + kKvLine - 1);
    const auto* lines =
        reinterpret_cast<const typename Source::Number*>(block + layout_.key_line(tile, 0));
    with_lines<Source>(lines, layout_.dims, until - from, [&]<class Lines>(const auto* numbers) {
      for (int32_t row = from; row < until; row += kShare) {
        score_rows<Lines>(block, numbers, tile, row, until - row < kShare ? until - row : kShare);
      }
    });
  }

  template <class Lines>
  void score_rows(const uint8_t* block, const typename Lines::Number* lines, int32_t tile,
                  int32_t row, int32_t count) {
    const float* a[kShare] = {};
    float* sums[kShare] = {};
    for (int32_t r = 0; r < count; ++r) {
      a[r] = rows_[row + r].q;
      sums[r] = scores(row + r) + tile * kKvLine;
      __builtin_memset(sums[r], 0, sizeof(float) * kKvLine);
    }
    if (layout_.type == KvType::kF16) {
      add_lines_of<F, Lines>(count, a, lines, layout_.dims, sums);
      return;
    }
    // A group of dimensions at a time, for each has its scales.
    for (int32_t group = 0; group < layout_.scale_groups(); ++group) {
      float parts[kShare][kKvLine] = {};
      float* part_sums[kShare] = {};
      for (int32_t r = 0; r < count; ++r) {
        part_sums[r] = parts[r];
      }
      const int32_t dim = group * kKvScaleDims;
      const int32_t left = layout_.dims - dim;
      add_lines_of<F, Lines>(count, a, lines + int64_t{dim} * kKvLine,
                             left < kKvScaleDims ? left : kKvScaleDims, part_sums);
      const auto* scales = reinterpret_cast<const Half*>(block + layout_.key_scales(group));
      for (int32_t r = 0; r < count; ++r) {
        add_scaled_by<F, Halves>(parts[r], scales + tile * kKvLine, kKvLine, sums[r]);
        a[r] += kKvScaleDims;
      }
    }
  }

  // out += weights . values, for 16 dimensions of some rows.
  template <class Source>
  void sum_slab(const uint8_t* block, int32_t slab, RowRange range, int32_t first, int32_t count) {
    const auto* lines =
        reinterpret_cast<const typename Source::Number*>(block + layout_.value_line(slab, 0));
    float* weights = scores_;
    if (layout_.type == KvType::kQ8_0) {
      // What multiplies a value is the position's weight times the value's scale, which two slabs share.
      weights = weights_;
      if (slab % (kKvScaleDims / kKvLine) == 0) {
        const auto* scales = reinterpret_cast<const Half*>(
            block + layout_.value_scales(slab * kKvLine / kKvScaleDims));
        for (int32_t row = range.begin; row < range.end; ++row) {
          scale_by<F, Halves>(scores(row), scales, kKvBlock, weights + int64_t{row} * kKvBlock);
        }
      }
    }
    with_lines<Source>(lines, count, range.end - range.begin,
                       [&]<class Lines>(const auto* numbers) {
                         for (int32_t row = range.begin; row < range.end;) {
                           // Rows that see the same positions: all of them, but where several tokens or their windows end. (Weights of 0 for what a
                           // row does not see would not keep out an infinite value.)
                           const BlockPart seen = visible(row, first, count);
                           const float* a[kShare] = {};
                           float* sums[kShare] = {};
                           int32_t some = 0;
                           for (; some < kShare && row + some < range.end &&
                                  visible(row + some, first, count) == seen;
                                ++some) {
                             a[some] = weights + int64_t{row + some} * kKvBlock + seen.begin;
                             sums[some] = state(row + some).out + slab * kKvLine;
                           }
                           add_lines_of<F, Lines>(some, a, numbers + int64_t{seen.begin} * kKvLine,
                                                  seen.end - seen.begin, sums);
                           row += some;
                         }
                       });
  }

  const AttentionQueries& queries_;
  const KvLayout& layout_;
  float* states_;
  float* scores_;   // rows x kKvBlock: scores, then weights
  float* weights_;  // kQ8_0: the same times scales of values
  float* decoded_;  // lines as floats: of a key tile or of a slab of values
  Row* rows_;
};

template <class F, class Halves, class Bytes>
void attention(const AttentionQueries& queries, const KvLayout& layout, const uint8_t* blocks,
               int32_t begin, int32_t end, float* states, uint8_t* scratch) noexcept {
  BlockAttention<F, Halves, Bytes>(queries, layout, states, scratch).run(blocks, begin, end);
}
