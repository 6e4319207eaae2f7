// What the ternary products of all NEON tables share: formats, column groups, and the walk over panels. Included inside the
// unnamed namespace of an instruction-set file.
//
// A register has 4 lanes, so a row block has 4 rows and a step 16 bytes; four steps, 16 columns, are a cache line of weights
// and one register of activations.

constexpr int32_t kLanes = 4;     // rows of a row block
constexpr int32_t kStepCols = 4;  // columns of a step
constexpr int32_t kStepBytes = 16;
constexpr int32_t kUnitSteps = 4;  // steps that one register of activations serves
constexpr int32_t kUnitCols = kUnitSteps * kStepCols;

// ---- Formats: a step of packed bytes as small signed codes, and what a sum of codes times activations says of the weights.

struct TwoBit {
  static constexpr PackedLayout kLayout{Packing::kTwoBit, 4 * kLanes, kStepCols};
  static constexpr int kFields = 4;
  static constexpr int32_t kLargest = 2;  // magnitude of a code

  static void unpack(uint8x16_t v, int8x16_t* codes) {
    const uint8x16_t low = vdupq_n_u8(3);
    codes[0] = vreinterpretq_s8_u8(vandq_u8(v, low));
    codes[1] = vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(v, 2), low));
    codes[2] = vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(v, 4), low));
    codes[3] = vreinterpretq_s8_u8(vshrq_n_u8(v, 6));
  }
  // Codes are w + 1.
  static int32x4_t product(int32x4_t code_sum, int32x4_t activation_sum) {
    return vsubq_s32(code_sum, activation_sum);
  }
};

struct Base3 {
  static constexpr PackedLayout kLayout{Packing::kBase3, 5 * kLanes, kStepCols};
  static constexpr int kFields = 5;
  static constexpr int32_t kLargest = 1;

  // The first digit of a fraction of 256 is 0 below 85.33 and 2 from 170.67 on; comparisons yield -1 where they hold.
  static void unpack(uint8x16_t v, int8x16_t* codes) {
    for (int f = 0; f < kFields; ++f) {
      const uint8x16_t is_minus = vcleq_u8(v, vdupq_n_u8(85));
      const uint8x16_t is_plus = vcgtq_u8(v, vdupq_n_u8(170));
      codes[f] = vsubq_s8(vreinterpretq_s8_u8(is_minus), vreinterpretq_s8_u8(is_plus));
      v = vmulq_u8(v, vdupq_n_u8(3));
    }
  }
  // Codes are the weights.
  static int32x4_t product(int32x4_t code_sum, int32x4_t /*activation_sum*/) { return code_sum; }
};

struct Sign {
  static constexpr PackedLayout kLayout{Packing::kSign, 8 * kLanes, kStepCols};
  static constexpr int kFields = 8;
  static constexpr int32_t kLargest = 1;

  static void unpack(uint8x16_t v, int8x16_t* codes) {
    for (int f = 0; f < kFields; ++f) {
      codes[f] = vreinterpretq_s8_u8(vtstq_u8(v, vdupq_n_u8(static_cast<uint8_t>(1U << f))));
    }
  }
  // Codes are -1 for the weight 1, 0 for the weight -1: w = -2 code - 1.
  static int32x4_t product(int32x4_t code_sum, int32x4_t activation_sum) {
    return vsubq_s32(vnegq_s32(activation_sum), vshlq_n_s32(code_sum, 1));
  }
};

template <class Format>
inline size_t panel_bytes(const TernaryMatrix& w) {
  return static_cast<size_t>(padded_cols(Format::kLayout, w.cols)) * kLanes;
}

// ---- Column groups, each with its own scales

struct Columns {
  int32_t begin;
  int32_t end;

  int32_t steps() const { return (end - begin + kStepCols - 1) / kStepCols; }
};

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

// Scales of kFields * kLanes rows in one column group; rows that do not exist get 0.
template <int kFields>
inline void load_scales(const TernaryMatrix& w, int32_t first_row, int32_t group, int32_t groups,
                        float32x4_t* out) {
  if (w.rows_per_scale >= w.rows) {
    for (int f = 0; f < kFields; ++f) {
      out[f] = vdupq_n_f32(w.scales[group]);
    }
    return;
  }
  float scales[kFields * kLanes];
  for (int32_t i = 0; i < kFields * kLanes; ++i) {
    const int32_t row = first_row + i;
    scales[i] = row < w.rows ? w.scales[int64_t{row / w.rows_per_scale} * groups + group] : 0.0F;
  }
  for (int f = 0; f < kFields; ++f) {
    out[f] = vld1q_f32(scales + f * kLanes);
  }
}

// The sum of a token's activations in a column group.
inline int32x4_t activation_sum(const Q8Rows& x, int32_t token, Columns group) {
  const int32_t* blocks = x.sums + int64_t{token} * (x.stride / kQ8SumBlock);
  int32_t sum = 0;
  for (int32_t b = group.begin / kQ8SumBlock; b * kQ8SumBlock < group.end; ++b) {
    sum += blocks[b];
  }
  return vdupq_n_s32(sum);
}

// total + float(sum) * scale: a product and a sum, never fused, so that all tables agree in every bit.
inline float32x4_t add_scaled(float32x4_t total, int32x4_t sum, float32x4_t scale) {
  return vaddq_f32(total, vmulq_f32(vcvtq_f32_s32(sum), scale));
}

// y[0 .. count) of one panel and token.
template <int kFields>
inline void store_rows(const float32x4_t* totals, float token_scale, int32_t count, float* y) {
  for (int f = 0; f < kFields; ++f) {
    const float32x4_t value = vmulq_n_f32(totals[f], token_scale);
    const int32_t left = count - f * kLanes;
    if (left >= kLanes) {
      vst1q_f32(y + f * kLanes, value);
      continue;
    }
    float rows[kLanes];
    vst1q_f32(rows, value);
    for (int32_t i = 0; i < left; ++i) {
      y[f * kLanes + i] = rows[i];
    }
  }
}

// ---- One token. A Decoder multiplies packed bytes as they are read:
//   Format, Sums            what it reads, and its accumulators for one panel
//   kRunSteps               steps that they can take, a multiple of kUnitSteps
//   step<lane>(sums, v, q)  adds one step: v, times columns 4 lane .. 4 lane + 3 of q
//   resolve(sums, out)      adds their code sums to out[kFields]

constexpr int32_t kPrefetchNear = 1024;  // bytes ahead, into L1
constexpr int32_t kPrefetchFar = 3072;   // bytes ahead, into L2

// The steps of one unit, or the first few of them at the end of a matrix.
template <class Decoder, int kLane = 0>
inline void multiply_unit(typename Decoder::Sums& sums, const uint8_t* codes, int8x16_t q,
                          int32_t steps) {
  if constexpr (kLane < kUnitSteps) {
    if (kLane < steps) {
      Decoder::template step<kLane>(sums, vld1q_u8(codes + kLane * kStepBytes), q);
      multiply_unit<Decoder, kLane + 1>(sums, codes, q, steps);
    }
  }
}

// Code sums of kPanels panels, `panel_stride` bytes apart, over `steps` steps. Activations are padded with zeros to whole
// units, weights only to whole steps.
template <class Decoder, int kPanels>
inline void multiply_one_token(const uint8_t* codes, size_t panel_stride, const int8_t* q,
                               int32_t steps, int32x4_t (*out)[Decoder::Format::kFields]) {
  static_assert(Decoder::kRunSteps % kUnitSteps == 0);
  for (int32_t run = 0; run < steps; run += Decoder::kRunSteps) {
    const int32_t end = steps - run < Decoder::kRunSteps ? steps : run + Decoder::kRunSteps;
    typename Decoder::Sums sums[kPanels] = {};
    int32_t i = run;
    for (; i + kUnitSteps <= end; i += kUnitSteps) {
      const int8x16_t four = vld1q_s8(q + i * kStepCols);
      for (int p = 0; p < kPanels; ++p) {
        const uint8_t* from =
            codes + static_cast<size_t>(p) * panel_stride + int64_t{i} * kStepBytes;
        __builtin_prefetch(from + kPrefetchNear, 0, 3);
        __builtin_prefetch(from + kPrefetchFar, 0, 2);
        multiply_unit<Decoder>(sums[p], from, four, kUnitSteps);
      }
    }
    for (int p = 0; p < kPanels && i < end; ++p) {
      multiply_unit<Decoder>(
          sums[p], codes + static_cast<size_t>(p) * panel_stride + int64_t{i} * kStepBytes,
          vld1q_s8(q + i * kStepCols), end - i);
    }
    for (int p = 0; p < kPanels; ++p) {
      Decoder::resolve(sums[p], out[p]);
    }
  }
}

// Rows first_row .. and, with two panels, also those `distance` rows further on. The last panel of a matrix may have fewer
// rows than it holds.
template <class Decoder, int kPanels>
inline void decode_panels(const TernaryMatrix& w, const Q8Rows& x, int32_t first_row,
                          int32_t distance, float* y) {
  using Format = typename Decoder::Format;
  constexpr int kFields = Format::kFields;
  constexpr int32_t kRows = Format::kLayout.tile_rows;
  const size_t bytes = panel_bytes<Format>(w);
  const uint8_t* panel = w.codes + static_cast<size_t>(first_row / kRows) * bytes;
  const Groups groups(w);
  float32x4_t totals[kPanels][kFields] = {};
  for (int32_t group = 0; group < groups.count(); ++group) {
    const Columns columns = groups.at(group);
    int32x4_t sums[kPanels][kFields] = {};
    multiply_one_token<Decoder, kPanels>(panel + int64_t{columns.begin} * kLanes,
                                         static_cast<size_t>(distance / kRows) * bytes,
                                         x.q + columns.begin, columns.steps(), sums);
    const int32x4_t activations = activation_sum(x, 0, columns);
    for (int p = 0; p < kPanels; ++p) {
      float32x4_t scales[kFields];
      load_scales<kFields>(w, first_row + p * distance, group, groups.count(), scales);
      for (int f = 0; f < kFields; ++f) {
        totals[p][f] =
            add_scaled(totals[p][f], Format::product(sums[p][f], activations), scales[f]);
      }
    }
  }
  for (int p = 0; p < kPanels; ++p) {
    const int32_t row = first_row + p * distance;
    store_rows<kFields>(totals[p], x.scale[0], w.rows - row < kRows ? w.rows - row : kRows,
                        y + row);
  }
}

// Two panels at once, half of the range apart: two streams hide more of the memory's latency than one, and each runs from one
// end to the other, so that prefetching reaches across the ends of panels.
template <class Decoder>
void decode_rows(const TernaryMatrix& w, const Q8Rows& x, RowRange rows, float* y) {
  constexpr int32_t kRows = Decoder::Format::kLayout.tile_rows;
  const int32_t panels = (rows.end - rows.begin + kRows - 1) / kRows;
  const int32_t half = panels / 2 * kRows;
  for (int32_t row = rows.begin; row < rows.begin + half; row += kRows) {
    decode_panels<Decoder, 2>(w, x, row, half, y);
  }
  for (int32_t row = rows.begin + 2 * half; row < rows.end; row += kRows) {
    decode_panels<Decoder, 1>(w, x, row, 0, y);
  }
}

// ---- Many tokens. A chunk of a panel is unpacked once for a block of tokens. A Multiplier says in which order:
//   Chunk, unpack(packed, steps, chunk)     kChunkSteps steps, unpacked
//   arranged_bytes(stride)                  of kTokenBlock tokens in its own order; 0 if it takes them as they lie
//   arrange(tokens, out)                    writes them
//   multiply(chunk, steps, tokens, col, sums)  adds the code sums of the columns from `col` on

constexpr int32_t kChunkSteps = 64;
constexpr int32_t kChunkCols = kChunkSteps * kStepCols;
constexpr int32_t kTokenBlock = 64;

template <class Multiplier>
struct PrefillScratch {
  static constexpr int kFields = Multiplier::Format::kFields;

  typename Multiplier::Chunk chunk;
  int32x4_t sums[kTokenBlock][kFields];      // code sums of the column group at hand
  float32x4_t totals[kTokenBlock][kFields];  // scaled sums of the groups before it
};

// The activations that a block of tokens is multiplied with.
struct TokenBlock {
  const Q8Rows& x;
  int32_t first;
  int32_t count;
  const int8_t* arranged;

  const int8_t* row(int32_t token) const { return x.q + int64_t{first + token} * x.stride; }
};

template <class Multiplier>
inline void prefill_panel(const TernaryMatrix& w, const TokenBlock& tokens, int32_t first_row,
                          PrefillScratch<Multiplier>& s) {
  using Format = typename Multiplier::Format;
  constexpr int kFields = Format::kFields;
  const uint8_t* panel =
      w.codes + static_cast<size_t>(first_row / Format::kLayout.tile_rows) * panel_bytes<Format>(w);
  const Groups groups(w);
  for (int32_t t = 0; t < kTokenBlock; ++t) {
    for (int f = 0; f < kFields; ++f) {
      s.sums[t][f] = vdupq_n_s32(0);
      s.totals[t][f] = vdupq_n_f32(0.0F);
    }
  }
  for (int32_t group = 0; group < groups.count(); ++group) {
    const Columns columns = groups.at(group);
    for (int32_t col = columns.begin; col < columns.end; col += kChunkCols) {
      const int32_t left = Columns{col, columns.end}.steps();
      const int32_t steps = left < kChunkSteps ? left : kChunkSteps;
      Multiplier::unpack(panel + int64_t{col} * kLanes, steps, s.chunk);
      Multiplier::multiply(s.chunk, steps, tokens, col, s.sums);
    }
    float32x4_t scales[kFields];
    load_scales<kFields>(w, first_row, group, groups.count(), scales);
    for (int32_t t = 0; t < tokens.count; ++t) {
      const int32x4_t activations = activation_sum(tokens.x, tokens.first + t, columns);
      for (int f = 0; f < kFields; ++f) {
        s.totals[t][f] =
            add_scaled(s.totals[t][f], Format::product(s.sums[t][f], activations), scales[f]);
        s.sums[t][f] = vdupq_n_s32(0);
      }
    }
  }
}

template <class Multiplier>
void prefill_rows(const TernaryMatrix& w, const Q8Rows& x, RowRange rows, float* y,
                  int64_t y_stride, uint8_t* scratch) {
  using Format = typename Multiplier::Format;
  constexpr int32_t kRows = Format::kLayout.tile_rows;
  auto& s = *reinterpret_cast<PrefillScratch<Multiplier>*>(scratch);
  auto* arranged = reinterpret_cast<int8_t*>(scratch + sizeof(s));
  for (int32_t token = 0; token < x.rows; token += kTokenBlock) {
    const int32_t count = x.rows - token < kTokenBlock ? x.rows - token : kTokenBlock;
    const TokenBlock tokens{x, token, count, arranged};
    Multiplier::arrange(tokens, arranged);
    for (int32_t row = rows.begin; row < rows.end; row += kRows) {
      prefill_panel<Multiplier>(w, tokens, row, s);
      const int32_t existing = rows.end - row < kRows ? rows.end - row : kRows;
      for (int32_t t = 0; t < count; ++t) {
        store_rows<Format::kFields>(s.totals[t], x.scale[token + t], existing,
                                    y + (token + t) * y_stride + row);
      }
    }
  }
}

// ---- A TernaryKernel of both

template <class Decoder, class Multiplier>
void ternary_matmul(const TernaryMatrix& w, const Q8Rows& x, RowRange rows, float* y,
                    int64_t y_stride, uint8_t* scratch) noexcept {
  if (x.rows == 1) {
    decode_rows<Decoder>(w, x, rows, y);
  } else {
    prefill_rows<Multiplier>(w, x, rows, y, y_stride, scratch);
  }
}

template <class Multiplier>
size_t ternary_scratch_bytes(int32_t cols, int32_t /*tokens*/) noexcept {
  const auto stride = static_cast<int32_t>(round_up(cols, kQ8ColsAlign));
  return sizeof(PrefillScratch<Multiplier>) + Multiplier::arranged_bytes(stride);
}

template <class Decoder, class Multiplier>
constexpr TernaryKernel kTernary{Decoder::Format::kLayout, ternary_matmul<Decoder, Multiplier>,
                                 ternary_scratch_bytes<Multiplier>};
