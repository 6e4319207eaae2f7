// Split heads in plain C++. Included inside the unnamed namespace of portable.cpp.

// Sums of one group in each lane, of one block. `codes`: four fields of 64.
void split_group_sums(const uint8_t (*codes)[64], const SplitInputBlock& x, int32_t* sums) {
  for (int32_t g = 0; g < kSplitGroups; ++g) {
    int32_t high = 0;
    int32_t low = 0;
    for (int32_t field = 0; field < kSplitFields; ++field) {
      for (int32_t i = 4 * g; i < 4 * g + 4; ++i) {
        high += codes[field][i] * x.high[field][i];
        low += codes[field][i] * x.low[field][i];
      }
    }
    sums[g] = 128 * high + low + x.offset[g];
  }
}

// One row's running sums, a lane for each group of a block.
struct SplitLanes {
  float lane[kSplitGroups] = {};

  // The sums are exact in a float: below 2^24.
  void add(const int32_t* sums, const int8_t* scales, float d) {
    for (int32_t g = 0; g < kSplitGroups; ++g) {
      lane[g] = lane[g] + d * (static_cast<float>(sums[g]) * static_cast<float>(scales[g]));
    }
  }
  float total() {
    for (int32_t width = kSplitGroups / 2; width > 0; width /= 2) {
      for (int32_t i = 0; i < width; ++i) {
        lane[i] = lane[i] + lane[i + width];
      }
    }
    return lane[0];
  }
};

struct SplitScales {
  const int8_t* scales;
  float d;
};

// d is times the input's unit.
SplitScales split_scales(const SplitMatrix& w, const uint8_t* coarse_row, const SplitInput& x,
                         int32_t block) {
  const Half d = load<Half>(coarse_row + w.halves_at() + 2 * block);
  return {reinterpret_cast<const int8_t*>(coarse_row + w.scales_at() + block * kSplitGroups),
          float_of_half(d) * x.units[block]};
}

void split_coarse_fields(const uint8_t* codes, uint8_t (*fields)[64]) {
  for (int32_t i = 0; i < 64; ++i) {
    fields[0][i] = codes[i] & 15;
    fields[1][i] = codes[i] >> 4;
    fields[2][i] = codes[64 + i] & 15;
    fields[3][i] = codes[64 + i] >> 4;
  }
}

void split_codes(const uint8_t* coarse, const uint8_t* fine, uint8_t (*codes)[64]) {
  split_coarse_fields(coarse, codes);
  for (int32_t field = 0; field < kSplitFields; ++field) {
    for (int32_t i = 0; i < 64; ++i) {
      codes[field][i] = static_cast<uint8_t>(4 * codes[field][i] + ((fine[i] >> (2 * field)) & 3));
    }
  }
}

// A group's sum is at most 16 * 15 * 128 + 2^14, times a scale below 2^23; a block's 16 of them below 2^27.
float split_screen_sum(const SplitMatrix& w, const SplitInput& x, int32_t row) {
  const uint8_t* codes = w.coarse_row(row);
  float total = 0.0F;
  for (int32_t b = 0; b < w.blocks(); ++b) {
    const SplitInputBlock& in = x.blocks[b];
    uint8_t fields[kSplitFields][64];
    split_coarse_fields(codes + b * kCoarseBlockBytes, fields);
    const SplitScales s = split_scales(w, codes, x, b);
    int32_t block = 0;
    for (int32_t g = 0; g < kSplitGroups; ++g) {
      int32_t sum = in.screen_offset[g][0] + in.screen_offset[g][1];
      for (int32_t field = 0; field < kSplitFields; ++field) {
        for (int32_t i = 4 * g; i < 4 * g + 4; ++i) {
          sum += fields[field][i] * in.high[field][i];
        }
      }
      block += sum * s.scales[g];
    }
    total += s.d * static_cast<float>(block);
  }
  return 512.0F * total;
}

void split_screen(const SplitMatrix& w, const SplitInput* x, int32_t tokens, RowRange rows,
                  float* y, int64_t y_stride) noexcept {
  for (int32_t row = rows.begin; row < rows.end; ++row) {
    for (int32_t t = 0; t < tokens; ++t) {
      y[t * y_stride + row] = split_screen_sum(w, x[t], row);
    }
  }
}

float split_product(const SplitMatrix& w, const SplitInput& x, int32_t row) {
  const uint8_t* coarse = w.coarse_row(row);
  const uint8_t* fine = w.fine_row(row);
  SplitLanes lanes;
  for (int32_t b = 0; b < w.blocks(); ++b) {
    uint8_t codes[kSplitFields][64];
    split_codes(coarse + b * kCoarseBlockBytes, fine + b * kFineBlockBytes, codes);
    int32_t sums[kSplitGroups];
    split_group_sums(codes, x.blocks[b], sums);
    const SplitScales s = split_scales(w, coarse, x, b);
    lanes.add(sums, s.scales, s.d);
  }
  return lanes.total() * x.scale;
}

void split_rows(const SplitMatrix& w, const SplitInput& x, const int32_t* rows, int32_t count,
                float* y) noexcept {
  for (int32_t i = 0; i < count; ++i) {
    y[rows[i]] = split_product(w, x, rows[i]);
  }
}

void split_matmul(const SplitMatrix& w, const SplitInput* x, int32_t tokens, RowRange rows,
                  float* y, int64_t y_stride) noexcept {
  for (int32_t row = rows.begin; row < rows.end; ++row) {
    for (int32_t t = 0; t < tokens; ++t) {
      y[t * y_stride + row] = split_product(w, x[t], row);
    }
  }
}
