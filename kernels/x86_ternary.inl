// Ternary products of the packings in which rows share bytes (two_bit, base3, sign): what is the same for every x86 instruction
// set. Included inside the unnamed namespace of an instruction-set file, after x86_ymm.inl or x86_zmm.inl.
//
// A Kernel is one packing on one instruction set:
//
//   static constexpr PackedLayout kLayout;        // panels of kBlocks row blocks, V::kLanes rows each
//   static constexpr int32_t kDirectLimit;        // up to so many tokens multiply weights as they are read: kAllTokens, or unpacking
//                                                 // them first is faster for more
//   static constexpr int kDirectTokens;           // so many at once
//   static constexpr int kDirectPanels;           // 1 or 2: panels at once, as long as 2 x tokens <= kDirectTokens
//   template <int kPanels, int kTokens> static void multiply(Stream, Activations, int32_t steps, Sums* out);
//   static constexpr int32_t kChunkSteps;         // steps unpacked at a time
//   static constexpr int kTokenTile;              // tokens that multiply_tile takes
//   static void unpack(const uint8_t* packed, int32_t steps, V::Ints (*codes)[kBlocks]);
//   template <int kTokens> static void multiply_tile(codes, int32_t steps, Activations, V::Ints (*sums)[kBlocks]);
//
// The last four only where kDirectLimit is less than kAllTokens. Sums are of codes 0..2 (weight + 1) times activations, exact, one int32 a row, rows in order.

constexpr int32_t kStepCols = 4;
constexpr int32_t kStepBytes = kStepCols * V::kLanes;

constexpr int32_t kAllTokens = 0x7FFFFFFF;
constexpr int32_t kTokenBlock = 128;     // tokens that meet an unpacked chunk
constexpr int32_t kPrefetchNear = 1024;  // bytes ahead, into L1
constexpr int32_t kPrefetchFar = 3072;   // bytes ahead, into L2

template <class Kernel>
constexpr int kBlocks = Kernel::kLayout.tile_rows / V::kLanes;

// Exact sums of one panel and token.
template <class Kernel>
struct PanelSums {
  V::Ints block[kBlocks<Kernel>];
};

// Packed weights: one panel, or several `stride` bytes apart.
struct Stream {
  const uint8_t* codes;
  size_t stride;

  const uint8_t* at(int panel, int32_t step) const {
    return codes + static_cast<size_t>(panel) * stride + int64_t{step} * kStepBytes;
  }
};

// One token's activations, or several `stride` bytes apart.
struct Activations {
  const int8_t* q;
  int64_t stride;

  const int8_t* at(int32_t token, int32_t step) const {
    return q + token * stride + int64_t{step} * kStepCols;
  }
  // The four of a step in every lane.
  V::Ints four(int32_t token, int32_t step) const {
    int32_t bytes = 0;
    __builtin_memcpy(&bytes, at(token, step), sizeof(bytes));
    return V::all_ints(bytes);
  }
};

inline void prefetch(const uint8_t* p) {
  _mm_prefetch(reinterpret_cast<const char*>(p + kPrefetchNear), _MM_HINT_T0);
  _mm_prefetch(reinterpret_cast<const char*>(p + kPrefetchFar), _MM_HINT_T1);
}

struct Columns {
  int32_t begin;
  int32_t end;

  int32_t steps() const { return (end - begin + kStepCols - 1) / kStepCols; }
};

// The column groups of a matrix: each has its own scales.
struct Groups {
  int32_t cols;
  int32_t width;

  explicit Groups(const TernaryMatrix& w) : cols(w.cols), width(w.cols_per_scale) {}
  int32_t count() const { return (cols + width - 1) / width; }
  Columns at(int32_t group) const {
    const int32_t begin = group * width;
    return {begin, cols - begin < width ? cols : begin + width};
  }
};

// Scales of a panel's rows in one column group; rows that do not exist get 0.
template <int kCount>
inline void load_scales(const TernaryMatrix& w, int32_t first_row, int32_t group, int32_t groups,
                        V::Vec* out) {
  if (w.rows_per_scale >= w.rows) {
    for (int b = 0; b < kCount; ++b) {
      out[b] = V::all(w.scales[group]);
    }
    return;
  }
  float scales[kCount * V::kLanes];
  int64_t scale_row = first_row / w.rows_per_scale;
  int32_t left = w.rows_per_scale - first_row % w.rows_per_scale;  // rows with this scale
  for (int32_t i = 0; i < kCount * V::kLanes; ++i) {
    if (left == 0) {
      ++scale_row;
      left = w.rows_per_scale;
    }
    --left;
    scales[i] = first_row + i < w.rows ? w.scales[scale_row * groups + group] : 0.0F;
  }
  for (int b = 0; b < kCount; ++b) {
    out[b] = V::load(scales + b * V::kLanes);
  }
}

// What codes w + 1 instead of w added to each sum of a column group: the sum of its activations.
inline V::Ints code_offset(const Q8Rows& x, int32_t token, Columns group) {
  const int32_t* blocks = x.sums + int64_t{token} * (x.stride / kQ8SumBlock);
  int32_t sum = 0;
  for (int32_t b = group.begin / kQ8SumBlock; b * kQ8SumBlock < group.end; ++b) {
    sum += blocks[b];
  }
  return V::all_ints(sum);
}

// total + float(sum - offset) * scale: a product and a sum, never fused, so that all tables agree in every bit.
inline V::Vec add_scaled(V::Vec total, V::Ints sum, V::Ints offset, V::Vec scale) {
  return V::add(total, V::multiply(V::to_floats(V::subtract(sum, offset)), scale));
}

// y[0 .. count) of one panel of kCount row blocks and one token.
template <int kCount>
inline void store_rows(const V::Vec* totals, float token_scale, int32_t count, float* y) {
  const V::Vec scale = V::all(token_scale);
  if (count == kCount * V::kLanes) {
    for (int b = 0; b < kCount; ++b) {
      V::store(y + b * V::kLanes, V::multiply(scale, totals[b]));
    }
    return;
  }
  float rows[kCount * V::kLanes];
  for (int b = 0; b < kCount; ++b) {
    V::store(rows + b * V::kLanes, V::multiply(scale, totals[b]));
  }
  for (int32_t i = 0; i < count; ++i) {
    y[i] = rows[i];
  }
}

inline int32_t at_most(int32_t value, int32_t limit) {
  return value < limit ? value : limit;
}

// Where results go: y of row 0 and token 0.
struct Output {
  float* y;
  int64_t stride;

  float* at(int32_t token, int32_t row) const { return y + token * stride + row; }
};

// ---- Few tokens: weights are multiplied as they are read.

// kTokens tokens from `token` on: rows first_row .. and, with two panels, also those `distance` rows further on. The last panel
// of a matrix may have fewer rows than it holds.
template <class Kernel, int kPanels, int kTokens>
inline void direct_panels(const TernaryMatrix& w, const Q8Rows& x, int32_t token, int32_t first_row,
                          int32_t distance, Output out) {
  constexpr int kCount = kBlocks<Kernel>;
  constexpr int32_t kRows = Kernel::kLayout.tile_rows;
  const size_t panel_bytes = packed_bytes(Kernel::kLayout, kRows, w.cols);
  const Stream panel{w.codes + static_cast<size_t>(first_row / kRows) * panel_bytes,
                     static_cast<size_t>(distance / kRows) * panel_bytes};
  const Activations tokens{x.q + int64_t{token} * x.stride, x.stride};
  const Groups groups(w);
  V::Vec totals[kPanels][kTokens][kCount];
  for (auto& of_panel : totals) {
    for (auto& of_token : of_panel) {
      for (V::Vec& total : of_token) {
        total = V::zero();
      }
    }
  }
  for (int32_t group = 0; group < groups.count(); ++group) {
    const Columns columns = groups.at(group);
    PanelSums<Kernel> sums[kPanels][kTokens] = {};
    Kernel::template multiply<kPanels, kTokens>(
        {panel.codes + int64_t{columns.begin} * V::kLanes, panel.stride},
        {tokens.q + columns.begin, tokens.stride}, columns.steps(), sums);
    for (int p = 0; p < kPanels; ++p) {
      V::Vec scales[kCount];
      load_scales<kCount>(w, first_row + p * distance, group, groups.count(), scales);
      for (int t = 0; t < kTokens; ++t) {
        const V::Ints offset = code_offset(x, token + t, columns);
        for (int b = 0; b < kCount; ++b) {
          totals[p][t][b] = add_scaled(totals[p][t][b], sums[p][t].block[b], offset, scales[b]);
        }
      }
    }
  }
  for (int p = 0; p < kPanels; ++p) {
    const int32_t row = first_row + p * distance;
    for (int t = 0; t < kTokens; ++t) {
      store_rows<kCount>(totals[p][t], x.scale[token + t], at_most(w.rows - row, kRows),
                         out.at(token + t, row));
    }
  }
}

// Two panels at once, half of the range apart, as long as their sums fit in registers: two streams hide more of the memory's
// latency than one, and each runs from one end to the other, so that prefetching reaches across the ends of panels.
template <class Kernel, int kTokens>
inline void direct_rows(const TernaryMatrix& w, const Q8Rows& x, RowRange rows, Output out) {
  constexpr int32_t kRows = Kernel::kLayout.tile_rows;
  constexpr bool kFit = kTokens == 1 || 2 * kTokens <= Kernel::kDirectTokens;
  constexpr int kPanels = kFit ? Kernel::kDirectPanels : 1;
  const int32_t panels = (rows.end - rows.begin + kRows - 1) / kRows;
  const int32_t part = panels / kPanels * kRows;
  for (int32_t row = rows.begin; row < rows.begin + part; row += kRows) {
    direct_panels<Kernel, kPanels, kTokens>(w, x, 0, row, part, out);
  }
  for (int32_t row = rows.begin + kPanels * part; row < rows.end; row += kRows) {
    direct_panels<Kernel, 1, kTokens>(w, x, 0, row, 0, out);
  }
}

// As direct_rows, for x.rows tokens, at most kTokens.
template <class Kernel, int kTokens>
void direct_tokens(const TernaryMatrix& w, const Q8Rows& x, RowRange rows, Output out) {
  if (x.rows == kTokens) {
    direct_rows<Kernel, kTokens>(w, x, rows, out);
  } else if constexpr (kTokens > 1) {
    direct_tokens<Kernel, kTokens - 1>(w, x, rows, out);
  }
}

// One panel and the tokens from `token` on: kTokens at a time, then the rest at once.
template <class Kernel, int kTokens>
void direct_panel(const TernaryMatrix& w, const Q8Rows& x, int32_t token, int32_t row, Output out) {
  for (; token + kTokens <= x.rows; token += kTokens) {
    direct_panels<Kernel, 1, kTokens>(w, x, token, row, 0, out);
  }
  if constexpr (kTokens > 1) {
    direct_panel<Kernel, kTokens - 1>(w, x, token, row, out);
  }
}

// ---- Many tokens: a chunk of a panel is unpacked to one code a byte and meets a block of tokens.

template <class Kernel>
struct TernaryScratch {
  V::Ints codes[Kernel::kChunkSteps][kBlocks<Kernel>];
  V::Ints sums[kTokenBlock][kBlocks<Kernel>];   // products of the column group at hand
  V::Vec totals[kTokenBlock][kBlocks<Kernel>];  // scaled sums of the groups before it
};

// kTokens tokens at a time, then the rest at once.
template <class Kernel, int kTokens>
inline void multiply_chunk(const TernaryScratch<Kernel>& s, int32_t steps, Activations x,
                           int32_t tokens, V::Ints (*sums)[kBlocks<Kernel>]) {
  int32_t t = 0;
  for (; t + kTokens <= tokens; t += kTokens) {
    Kernel::template multiply_tile<kTokens>(s.codes, steps, {x.at(t, 0), x.stride}, sums + t);
  }
  if constexpr (kTokens > 1) {
    multiply_chunk<Kernel, kTokens - 1>(s, steps, {x.at(t, 0), x.stride}, tokens - t, sums + t);
  }
}

template <class Kernel>
inline void prefill_panel(const TernaryMatrix& w, const Q8Rows& x, int32_t first_row,
                          int32_t first_token, int32_t tokens, TernaryScratch<Kernel>& s) {
  constexpr int kCount = kBlocks<Kernel>;
  constexpr int32_t kChunkCols = Kernel::kChunkSteps * kStepCols;
  const uint8_t* panel = w.codes + packed_bytes(Kernel::kLayout, first_row, w.cols);
  const Activations all{x.q + int64_t{first_token} * x.stride, x.stride};
  const Groups groups(w);
  for (int32_t t = 0; t < tokens; ++t) {
    for (int b = 0; b < kCount; ++b) {
      s.totals[t][b] = V::zero();
      s.sums[t][b] = V::all_ints(0);
    }
  }
  for (int32_t group = 0; group < groups.count(); ++group) {
    const Columns columns = groups.at(group);
    for (int32_t col = columns.begin; col < columns.end; col += kChunkCols) {
      const int32_t steps = at_most(Columns{col, columns.end}.steps(), Kernel::kChunkSteps);
      Kernel::unpack(panel + int64_t{col} * V::kLanes, steps, s.codes);
      multiply_chunk<Kernel, Kernel::kTokenTile>(s, steps, {all.q + col, all.stride}, tokens,
                                                 s.sums);
    }
    V::Vec scales[kCount];
    load_scales<kCount>(w, first_row, group, groups.count(), scales);
    for (int32_t t = 0; t < tokens; ++t) {
      const V::Ints offset = code_offset(x, first_token + t, columns);
      for (int b = 0; b < kCount; ++b) {
        s.totals[t][b] = add_scaled(s.totals[t][b], s.sums[t][b], offset, scales[b]);
        s.sums[t][b] = V::all_ints(0);
      }
    }
  }
}

template <class Kernel>
void unpacked_rows(const TernaryMatrix& w, const Q8Rows& x, RowRange rows, Output out,
                   uint8_t* scratch) {
  constexpr int32_t kRows = Kernel::kLayout.tile_rows;
  auto& s = *reinterpret_cast<TernaryScratch<Kernel>*>(scratch);
  for (int32_t row = rows.begin; row < rows.end; row += kRows) {
    const int32_t count = at_most(rows.end - row, kRows);
    for (int32_t token = 0; token < x.rows; token += kTokenBlock) {
      const int32_t tokens = at_most(x.rows - token, kTokenBlock);
      prefill_panel(w, x, row, token, tokens, s);
      for (int32_t t = 0; t < tokens; ++t) {
        store_rows<kBlocks<Kernel>>(s.totals[t], x.scale[token + t], count, out.at(token + t, row));
      }
    }
  }
}

template <class Kernel>
void ternary_matmul(const TernaryMatrix& w, const Q8Rows& x, RowRange rows, float* y,
                    int64_t y_stride, uint8_t* scratch) noexcept {
  const Output out{y, y_stride};
  if (x.rows <= Kernel::kDirectTokens) {
    direct_tokens<Kernel, Kernel::kDirectTokens>(w, x, rows, out);
    return;
  }
  if constexpr (Kernel::kDirectLimit != kAllTokens) {
    if (x.rows > Kernel::kDirectLimit) {
      unpacked_rows<Kernel>(w, x, rows, out, scratch);
      return;
    }
  }
  for (int32_t row = rows.begin; row < rows.end; row += Kernel::kLayout.tile_rows) {
    direct_panel<Kernel, Kernel::kDirectTokens>(w, x, 0, row, out);
  }
}

template <class Kernel>
size_t ternary_scratch_bytes(int32_t /*cols*/, int32_t tokens) noexcept {
  if constexpr (Kernel::kDirectLimit != kAllTokens) {
    return tokens > Kernel::kDirectLimit ? sizeof(TernaryScratch<Kernel>) : 0;
  }
  return 0;
}

template <class Kernel>
constexpr TernaryKernel kTernary{Kernel::kLayout, ternary_matmul<Kernel>,
                                 ternary_scratch_bytes<Kernel>};
