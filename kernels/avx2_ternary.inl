// two_bit products on AVX2. Included inside the unnamed namespace of avx2.cpp.
//
// A step is 32 bytes: 4 columns of the 32 rows of a panel. Masks pick two row blocks (fields) of a byte where they lie, a 16-bit
// shift by 4 brings the other two there (bits that cross from the upper byte into the lower one are masked off). vpmaddubsw
// multiplies unsigned codes with signed activations and adds pairs; vpmaddwd with ones later adds the two pairs of a lane.

constexpr PackedLayout kLayout{Packing::kTwoBit, 32, 4};
constexpr int32_t kRows = 32;   // of a panel
constexpr int32_t kLanes = 8;   // rows of a row block
constexpr int32_t kFields = 4;  // row blocks of a panel
constexpr int32_t kStepBytes = 32;
constexpr int32_t kStepCols = 4;

// Decode, field mask 0x0C: codes count 4 times, so that a pair adds at most 2 * 8 * 128 = 2048 in magnitude (downwards; 2032
// upwards) to an int16, and 16 steps reach -32768 .. 32512: exactly what an int16 holds.
constexpr int32_t kDecodeRun = 16;
static_assert(2 * 8 * 128 * kDecodeRun <= 32768 && 2 * 8 * 127 * kDecodeRun <= 32767);
// Prefill works on unpacked codes 0..2: a pair adds -512 .. 508, and 64 steps reach -32768 .. 32512.
constexpr int32_t kChunkSteps = 64;
constexpr int32_t kChunkCols = kChunkSteps * kStepCols;
static_assert(2 * 2 * 128 * kChunkSteps <= 32768 && 2 * 2 * 127 * kChunkSteps <= 32767);

constexpr int32_t kTokenBlock = 128;     // tokens that meet an unpacked chunk
constexpr int32_t kPrefetchNear = 1024;  // bytes ahead, into L1
constexpr int32_t kPrefetchFar = 3072;   // bytes ahead, into L2

struct TernaryScratch {
  __m256i codes[kChunkSteps][kFields];
  __m256i sums[kTokenBlock][kFields];   // products of the column group at hand, one int32 a row
  __m256 totals[kTokenBlock][kFields];  // scaled sums of the groups before it
};

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

inline __m256i broadcast_step(const int8_t* q) {
  int32_t four = 0;
  __builtin_memcpy(&four, q, sizeof(four));
  return _mm256_set1_epi32(four);
}

// Four int32 row sums of eight rows each.
struct PanelSums {
  __m256i field[kFields];
};

inline void add_wide(__m256i& sums, __m256i pairs) {
  sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

// One token: products of its columns with kPanels panels, `panel_stride` bytes apart.
template <int kPanels>
inline void multiply_one_token(const uint8_t* codes, size_t panel_stride, const int8_t* q,
                               int32_t steps, PanelSums* out) {
  const __m256i low = _mm256_set1_epi8(0x03);
  const __m256i next = _mm256_set1_epi8(0x0C);
  PanelSums wide[kPanels] = {};
  for (int32_t run = 0; run < steps; run += kDecodeRun) {
    const int32_t count = steps - run < kDecodeRun ? steps - run : kDecodeRun;
    PanelSums acc[kPanels] = {};
    for (int32_t i = 0; i < count; ++i) {
      const int64_t at = int64_t{run + i} * kStepBytes;
      const __m256i four = broadcast_step(q + int64_t{run + i} * kStepCols);
      for (int p = 0; p < kPanels; ++p) {
        const uint8_t* from = codes + static_cast<size_t>(p) * panel_stride + at;
        if (i % 2 == 0) {  // once a cache line
          _mm_prefetch(reinterpret_cast<const char*>(from + kPrefetchNear), _MM_HINT_T0);
          _mm_prefetch(reinterpret_cast<const char*>(from + kPrefetchFar), _MM_HINT_T1);
        }
        const __m256i v = _mm256_load_si256(reinterpret_cast<const __m256i*>(from));
        const __m256i shifted = _mm256_srli_epi16(v, 4);
        const __m256i w[kFields] = {_mm256_and_si256(v, low), _mm256_and_si256(v, next),
                                    _mm256_and_si256(shifted, low),
                                    _mm256_and_si256(shifted, next)};
        for (int f = 0; f < kFields; ++f) {
          acc[p].field[f] = _mm256_add_epi16(acc[p].field[f], _mm256_maddubs_epi16(w[f], four));
        }
      }
    }
    for (int p = 0; p < kPanels; ++p) {
      for (int f = 0; f < kFields; ++f) {
        add_wide(wide[p].field[f], acc[p].field[f]);
      }
    }
  }
  for (int p = 0; p < kPanels; ++p) {
    for (int f = 0; f < kFields; ++f) {
      // Fields 1 and 3 counted four times: their sums are multiples of 4.
      out[p].field[f] = f % 2 == 0 ? wide[p].field[f] : _mm256_srai_epi32(wide[p].field[f], 2);
    }
  }
}

// Scales of a panel's rows in one column group; rows that do not exist get 0.
inline void load_scales(const TernaryMatrix& w, int32_t first_row, int32_t group, int32_t groups,
                        __m256* out) {
  if (w.rows_per_scale >= w.rows) {
    for (int f = 0; f < kFields; ++f) {
      out[f] = _mm256_set1_ps(w.scales[group]);
    }
    return;
  }
  alignas(32) float scales[kRows];
  int64_t scale_row = first_row / w.rows_per_scale;
  int32_t left = w.rows_per_scale - first_row % w.rows_per_scale;  // rows with this scale
  for (int32_t i = 0; i < kRows; ++i) {
    if (left == 0) {
      ++scale_row;
      left = w.rows_per_scale;
    }
    --left;
    scales[i] = first_row + i < w.rows ? w.scales[scale_row * groups + group] : 0.0F;
  }
  for (int f = 0; f < kFields; ++f) {
    out[f] = _mm256_load_ps(scales + f * kLanes);
  }
}

// What codes w + 1 instead of w added to each sum of a column group: the sum of its activations.
inline __m256i code_offset(const Q8Rows& x, int32_t token, Columns group) {
  const int32_t* blocks = x.sums + int64_t{token} * (x.stride / kQ8SumBlock);
  int32_t sum = 0;
  for (int32_t b = group.begin / kQ8SumBlock; b * kQ8SumBlock < group.end; ++b) {
    sum += blocks[b];
  }
  return _mm256_set1_epi32(sum);
}

// total + float(sum - offset) * scale: a product and a sum, never fused, so that all tables agree in every bit.
inline __m256 add_scaled(__m256 total, __m256i sum, __m256i offset, __m256 scale) {
  const __m256 exact = _mm256_cvtepi32_ps(_mm256_sub_epi32(sum, offset));
  return _mm256_add_ps(total, _mm256_mul_ps(exact, scale));
}

// y[0 .. count) of one panel and token.
inline void store_rows(const __m256* totals, float token_scale, int32_t count, float* y) {
  const __m256 scale = _mm256_set1_ps(token_scale);
  alignas(32) float rows[kRows];
  for (int f = 0; f < kFields; ++f) {
    const __m256 value = _mm256_mul_ps(scale, totals[f]);
    if (count == kRows) {
      _mm256_storeu_ps(y + f * kLanes, value);
    } else {
      _mm256_store_ps(rows + f * kLanes, value);
    }
  }
  for (int32_t i = 0; count < kRows && i < count; ++i) {
    y[i] = rows[i];
  }
}

// One token: rows first_row .. and, with two panels, also those `distance` rows further on. The last panel of a matrix may
// have fewer rows than it holds.
template <int kPanels>
inline void decode_panels(const TernaryMatrix& w, const Q8Rows& x, int32_t first_row,
                          int32_t distance, float* y) {
  const size_t panel_bytes = static_cast<size_t>(padded_cols(kLayout, w.cols)) * kLanes;
  const uint8_t* panel = w.codes + static_cast<size_t>(first_row / kRows) * panel_bytes;
  const size_t stride = static_cast<size_t>(distance / kRows) * panel_bytes;
  const Groups groups(w);
  __m256 totals[kPanels][kFields];
  for (int p = 0; p < kPanels; ++p) {
    for (int f = 0; f < kFields; ++f) {
      totals[p][f] = _mm256_setzero_ps();
    }
  }
  for (int32_t group = 0; group < groups.count(); ++group) {
    const Columns columns = groups.at(group);
    PanelSums sums[kPanels];
    multiply_one_token<kPanels>(panel + int64_t{columns.begin} * kLanes, stride,
                                x.q + columns.begin, columns.steps(), sums);
    const __m256i offset = code_offset(x, 0, columns);
    for (int p = 0; p < kPanels; ++p) {
      __m256 scales[kFields];
      load_scales(w, first_row + p * distance, group, groups.count(), scales);
      for (int f = 0; f < kFields; ++f) {
        totals[p][f] = add_scaled(totals[p][f], sums[p].field[f], offset, scales[f]);
      }
    }
  }
  for (int p = 0; p < kPanels; ++p) {
    const int32_t row = first_row + p * distance;
    store_rows(totals[p], x.scale[0], w.rows - row < kRows ? w.rows - row : kRows, y + row);
  }
}

// Unpacks `steps` steps of a panel to one code a byte.
inline void unpack_chunk(const uint8_t* packed, int32_t steps, __m256i (*codes)[kFields]) {
  const __m256i low = _mm256_set1_epi8(0x03);
  for (int32_t step = 0; step < steps; ++step) {
    const __m256i v =
        _mm256_load_si256(reinterpret_cast<const __m256i*>(packed + step * kStepBytes));
    codes[step][0] = _mm256_and_si256(v, low);
    codes[step][1] = _mm256_and_si256(_mm256_srli_epi16(v, 2), low);
    codes[step][2] = _mm256_and_si256(_mm256_srli_epi16(v, 4), low);
    codes[step][3] = _mm256_and_si256(_mm256_srli_epi16(v, 6), low);
  }
}

// sums += an unpacked chunk times kTokens tokens, whose q rows are `stride` bytes apart.
template <int kTokens>
inline void multiply_tile(const __m256i (*codes)[kFields], int32_t steps, const int8_t* q,
                          int64_t stride, __m256i (*sums)[kFields]) {
  __m256i acc[kTokens][kFields];
  for (int t = 0; t < kTokens; ++t) {
    for (int f = 0; f < kFields; ++f) {
      acc[t][f] = _mm256_setzero_si256();
    }
  }
  for (int32_t step = 0; step < steps; ++step) {
    __m256i four[kTokens];
    for (int t = 0; t < kTokens; ++t) {
      four[t] = broadcast_step(q + t * stride + step * kStepCols);
    }
    for (int f = 0; f < kFields; ++f) {
      const __m256i w = _mm256_load_si256(&codes[step][f]);
      for (int t = 0; t < kTokens; ++t) {
        acc[t][f] = _mm256_add_epi16(acc[t][f], _mm256_maddubs_epi16(w, four[t]));
      }
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    for (int f = 0; f < kFields; ++f) {
      add_wide(sums[t][f], acc[t][f]);
    }
  }
}

inline void multiply_chunk(const TernaryScratch& s, int32_t steps, const int8_t* q, int64_t stride,
                           int32_t tokens, __m256i (*sums)[kFields]) {
  constexpr int32_t kTile = 2;
  int32_t t = 0;
  for (; t + kTile <= tokens; t += kTile) {
    multiply_tile<kTile>(s.codes, steps, q + t * stride, stride, sums + t);
  }
  if (t < tokens) {
    multiply_tile<1>(s.codes, steps, q + t * stride, stride, sums + t);
  }
}

inline void prefill_panel(const TernaryMatrix& w, const Q8Rows& x, int32_t first_row,
                          int32_t first_token, int32_t tokens, TernaryScratch& s) {
  const size_t stride = static_cast<size_t>(padded_cols(kLayout, w.cols)) * kLanes;
  const uint8_t* panel = w.codes + static_cast<size_t>(first_row / kRows) * stride;
  const Groups groups(w);
  for (int32_t t = 0; t < tokens; ++t) {
    for (int f = 0; f < kFields; ++f) {
      s.totals[t][f] = _mm256_setzero_ps();
      s.sums[t][f] = _mm256_setzero_si256();
    }
  }
  for (int32_t group = 0; group < groups.count(); ++group) {
    const Columns columns = groups.at(group);
    for (int32_t col = columns.begin; col < columns.end; col += kChunkCols) {
      const int32_t left = Columns{col, columns.end}.steps();
      const int32_t steps = left < kChunkSteps ? left : kChunkSteps;
      unpack_chunk(panel + int64_t{col} * kLanes, steps, s.codes);
      multiply_chunk(s, steps, x.q + int64_t{first_token} * x.stride + col, x.stride, tokens,
                     s.sums);
    }
    __m256 scales[kFields];
    load_scales(w, first_row, group, groups.count(), scales);
    for (int32_t t = 0; t < tokens; ++t) {
      const __m256i offset = code_offset(x, first_token + t, columns);
      for (int f = 0; f < kFields; ++f) {
        s.totals[t][f] = add_scaled(s.totals[t][f], s.sums[t][f], offset, scales[f]);
        s.sums[t][f] = _mm256_setzero_si256();
      }
    }
  }
}

// Two panels at once, half of the range apart: two streams hide more of the memory's latency than one, and each runs from one
// end to the other, so that prefetching reaches across the ends of panels.
void decode_rows(const TernaryMatrix& w, const Q8Rows& x, RowRange rows, float* y) {
  const int32_t panels = (rows.end - rows.begin + kRows - 1) / kRows;
  const int32_t half = panels / 2 * kRows;
  for (int32_t row = rows.begin; row < rows.begin + half; row += kRows) {
    decode_panels<2>(w, x, row, half, y);
  }
  for (int32_t row = rows.begin + 2 * half; row < rows.end; row += kRows) {
    decode_panels<1>(w, x, row, 0, y);
  }
}

void two_bit_matmul(const TernaryMatrix& w, const Q8Rows& x, RowRange rows, float* y,
                    int64_t y_stride, uint8_t* scratch) noexcept {
  if (x.rows == 1) {
    decode_rows(w, x, rows, y);
    return;
  }
  auto& s = *reinterpret_cast<TernaryScratch*>(scratch);
  for (int32_t row = rows.begin; row < rows.end; row += kRows) {
    const int32_t count = rows.end - row < kRows ? rows.end - row : kRows;
    for (int32_t token = 0; token < x.rows; token += kTokenBlock) {
      const int32_t tokens = x.rows - token < kTokenBlock ? x.rows - token : kTokenBlock;
      prefill_panel(w, x, row, token, tokens, s);
      for (int32_t t = 0; t < tokens; ++t) {
        store_rows(s.totals[t], x.scale[token + t], count, y + (token + t) * y_stride + row);
      }
    }
  }
}

size_t two_bit_scratch_bytes(int32_t /*cols*/, int32_t /*tokens*/) noexcept {
  return sizeof(TernaryScratch);
}
