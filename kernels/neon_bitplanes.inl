// Products with bitplanes on NEON, both ways. Included inside the unnamed namespace of neon.cpp, after neon_ternary.inl.
//
// A step holds 32 columns of eight rows: a register is one plane of four rows, a row a lane.

constexpr PackedLayout kPlaneLayout{Packing::kBitplanes, 8, 32};
constexpr int32_t kPlaneRows = kPlaneLayout.tile_rows;
constexpr int32_t kPlaneCols = kPlaneLayout.tile_k;
constexpr int kPlaneRegisters = kPlaneRows / kLanes;
constexpr int32_t kPlaneStepBytes = 2 * kPlaneRows * kPlaneCols / 8;

// The columns of one step where weights are 1, and where they are -1, four rows each.
struct PlaneStep {
  uint8x16_t plus[kPlaneRegisters];
  uint8x16_t minus[kPlaneRegisters];

  explicit PlaneStep(const uint8_t* packed) {
    __builtin_prefetch(packed + kPrefetchNear, 0, 3);
    __builtin_prefetch(packed + kPrefetchFar, 0, 2);
    for (int r = 0; r < kPlaneRegisters; ++r) {
      minus[r] = vld1q_u8(packed + kPlaneStepBytes / 2 + 16 * r);
      plus[r] = vbicq_u8(vld1q_u8(packed + 16 * r), minus[r]);
    }
  }
};

inline int32_t plane_steps(int32_t cols) {
  return (cols + kPlaneCols - 1) / kPlaneCols;
}

// ---- By counting bits. Activations are cut into planes X_b, q = sum of c_b x_b with c_b = 2^b, the last negative. Selecting by X_b, in
// one instruction, from the plus plane where it is 1 and from the minus plane where it is 0, leaves bits whose counts sum to
//   sum over plus of c_b x_b + sum over minus of c_b (1 - x_b),  over all b:  sum(w q) + (sum of all c_b, which is -1) x #minus
// so the number of minus signs, one more count, is added.

constexpr int kMostPlanes = 8;
constexpr int32_t kSliceBytes = kMostPlanes * kPlaneCols / 8;  // of the activations of one step

// The same bit of every byte, 16 bytes: bit j of the result's two bytes is byte j. All eight bits, lowest first.
inline uint16x8_t slice16(int8x16_t q) {
  const uint8x16_t place = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201U));
  uint8x16_t bits[kMostPlanes];
  for (int b = 0; b < kMostPlanes; ++b) {
    const uint8x16_t is_set =
        vtstq_u8(vreinterpretq_u8_s8(q), vdupq_n_u8(static_cast<uint8_t>(1U << b)));
    bits[b] = vandq_u8(is_set, place);
  }
  for (int count = kMostPlanes; count > 1; count /= 2) {  // 8 places add up to one byte
    for (int i = 0; i < count / 2; ++i) {
      bits[i] = vpaddq_u8(bits[2 * i], bits[2 * i + 1]);
    }
  }
  return vreinterpretq_u16_u8(bits[0]);
}

// Per step, plane b of 32 activations is the word b.
inline void slice_activations(const int8_t* q, int32_t cols, uint8_t* out) {
  for (int32_t step = 0; step < plane_steps(cols); ++step, out += kSliceBytes) {
    const uint16x8_t low = slice16(vld1q_s8(q + step * kPlaneCols));
    const uint16x8_t high = slice16(vld1q_s8(q + step * kPlaneCols + 16));
    vst1q_u16(reinterpret_cast<uint16_t*>(out), vzip1q_u16(low, high));
    vst1q_u16(reinterpret_cast<uint16_t*>(out) + 8, vzip2q_u16(low, high));
  }
}

// A byte counts at most 8 bits a step.
constexpr int32_t kCountSteps = 31;
static_assert(8 * kCountSteps <= 255);

template <int kPlanes>
struct BitCounts {
  uint8x16_t plane[kPlanes][kPlaneRegisters];
  uint8x16_t minus[kPlaneRegisters];

  template <int kPlane = 0>
  void add(const PlaneStep& w, uint32x4_t first_planes, uint32x4_t last_planes) {
    if constexpr (kPlane < kPlanes) {
      const uint8x16_t x = vreinterpretq_u8_u32(
          vdupq_laneq_u32(kPlane < 4 ? first_planes : last_planes, kPlane % 4));
      for (int r = 0; r < kPlaneRegisters; ++r) {
        const uint8x16_t chosen = vbslq_u8(x, w.plus[r], w.minus[r]);
        plane[kPlane][r] = vaddq_u8(plane[kPlane][r], vcntq_u8(chosen));
      }
      add<kPlane + 1>(w, first_planes, last_planes);
    } else {
      for (int r = 0; r < kPlaneRegisters; ++r) {
        minus[r] = vaddq_u8(minus[r], vcntq_u8(w.minus[r]));
      }
    }
  }

  // Adds the products of the steps counted, one int32 a row. A lane's four bytes join to at most 1020.
  void resolve(int32x4_t* sums) const {
    for (int r = 0; r < kPlaneRegisters; ++r) {
      int32x4_t sum = vaddq_s32(sums[r], lanes(minus[r]));
      for (int b = 0; b < kPlanes; ++b) {
        const int32x4_t weighted = vshlq_s32(lanes(plane[b][r]), vdupq_n_s32(b));
        sum = b + 1 == kPlanes ? vsubq_s32(sum, weighted) : vaddq_s32(sum, weighted);
      }
      sums[r] = sum;
    }
  }

 private:
  static int32x4_t lanes(uint8x16_t counts) {
    return vreinterpretq_s32_u32(vpaddlq_u16(vpaddlq_u8(counts)));
  }
};

// Activations of eight bits, or of four (then planes 4 to 7 would only repeat the sign, plane 3).
template <int kPlanes>
struct CountedPlanes {
  // A token's activations in the order that multiply() reads, in `bytes(stride)` bytes of `out` or where they are.
  static size_t bytes(int32_t stride) { return static_cast<size_t>(stride); }
  static const uint8_t* arrange(const int8_t* q, int32_t cols, uint8_t* out) {
    slice_activations(q, cols, out);
    return out;
  }

  // sums += products of `steps` steps of a panel with a token's activations, from its column `col` on.
  static void multiply(const uint8_t* packed, const uint8_t* arranged, int32_t col, int32_t steps,
                       int32x4_t* sums) {
    const uint8_t* x = arranged + col / kPlaneCols * kSliceBytes;
    for (int32_t run = 0; run < steps; run += kCountSteps) {
      const int32_t end = steps - run < kCountSteps ? steps : run + kCountSteps;
      BitCounts<kPlanes> counts = {};
      for (int32_t i = run; i < end; ++i) {
        const auto* planes = reinterpret_cast<const uint32_t*>(x + i * kSliceBytes);
        counts.add(PlaneStep(packed + int64_t{i} * kPlaneStepBytes), vld1q_u32(planes),
                   vld1q_u32(planes + 4));
      }
      counts.resolve(sums);
    }
  }
};

// ---- By masked addition: bits spread to bytes of ones mask four activations of every row, which are added in pairs to int16s.
// A pair adds -256 .. 254, eight of them a step: 16 steps reach -32768 .. 32512.
struct MaskedPlanes {
  static constexpr int32_t kRunSteps = 16;
  static_assert(2 * 128 * 8 * kRunSteps <= 32768 && 2 * 127 * 8 * kRunSteps <= 32767);

  static size_t bytes(int32_t /*stride*/) { return 0; }
  static const uint8_t* arrange(const int8_t* q, int32_t /*cols*/, uint8_t* /*out*/) {
    return reinterpret_cast<const uint8_t*>(q);
  }

  static void multiply(const uint8_t* packed, const uint8_t* arranged, int32_t col, int32_t steps,
                       int32x4_t* sums) {
    const auto* q = reinterpret_cast<const int8_t*>(arranged + col);
    for (int32_t run = 0; run < steps; run += kRunSteps) {
      const int32_t end = steps - run < kRunSteps ? steps : run + kRunSteps;
      int16x8_t plus[kPlaneRegisters] = {};
      int16x8_t minus[kPlaneRegisters] = {};
      for (int32_t i = run; i < end; ++i) {
        const PlaneStep w(packed + int64_t{i} * kPlaneStepBytes);
        for (int r = 0; r < kPlaneRegisters; ++r) {
          add_masked(w.plus[r], q + i * kPlaneCols, plus[r]);
          add_masked(w.minus[r], q + i * kPlaneCols, minus[r]);
        }
      }
      for (int r = 0; r < kPlaneRegisters; ++r) {
        sums[r] = vsubq_s32(vpadalq_s16(sums[r], plus[r]), vpaddlq_s16(minus[r]));
      }
    }
  }

 private:
  // Byte j of lane l is bit 8 kByte + j of the lane's word; j from 0 to 3, then from 4 to 7.
  template <int kByte = 0>
  static void add_masked(uint8x16_t plane, const int8_t* q, int16x8_t& sums) {
    if constexpr (kByte < 4) {
      const uint8x16_t lane_starts = {0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12};
      const uint8x16_t bytes = vqtbl1q_u8(plane, vaddq_u8(lane_starts, vdupq_n_u8(kByte)));
      const uint8x16_t low = vtstq_u8(bytes, vreinterpretq_u8_u32(vdupq_n_u32(0x08040201U)));
      const uint8x16_t high = vtstq_u8(bytes, vreinterpretq_u8_u32(vdupq_n_u32(0x80402010U)));
      sums = vpadalq_s8(sums, vandq_s8(four(q + 8 * kByte), vreinterpretq_s8_u8(low)));
      sums = vpadalq_s8(sums, vandq_s8(four(q + 8 * kByte + 4), vreinterpretq_s8_u8(high)));
      add_masked<kByte + 1>(plane, q, sums);
    }
  }
  static int8x16_t four(const int8_t* q) {
    int32_t word = 0;
    __builtin_memcpy(&word, q, sizeof(word));
    return vreinterpretq_s8_s32(vdupq_n_s32(word));
  }
};

// ---- A panel stays in the L1 cache while a block of tokens, arranged before, passes.

constexpr int32_t kPlaneTokens = 32;

template <class Planes>
inline void plane_panel(const TernaryMatrix& w, const Q8Rows& x, int32_t token, int32_t row,
                        const uint8_t* arranged, float* y) {
  const uint8_t* panel = w.codes + packed_bytes(kPlaneLayout, row, w.cols);
  const Groups groups(w);
  float32x4_t totals[kPlaneRegisters] = {};
  for (int32_t group = 0; group < groups.count(); ++group) {
    const Columns columns = groups.at(group);
    int32x4_t sums[kPlaneRegisters] = {};
    Planes::multiply(panel + int64_t{columns.begin / kPlaneCols} * kPlaneStepBytes, arranged,
                     columns.begin, plane_steps(columns.end - columns.begin), sums);
    float32x4_t scales[kPlaneRegisters];
    load_scales<kPlaneRegisters>(w, row, group, groups.count(), scales);
    for (int r = 0; r < kPlaneRegisters; ++r) {
      totals[r] = add_scaled(totals[r], sums[r], scales[r]);
    }
  }
  const int32_t left = w.rows - row < kPlaneRows ? w.rows - row : kPlaneRows;
  store_rows<kPlaneRegisters>(totals, x.scale[token], left, y);
}

template <class Planes>
void plane_matmul(const TernaryMatrix& w, const Q8Rows& x, RowRange rows, float* y,
                  int64_t y_stride, uint8_t* scratch) noexcept {
  const size_t bytes = Planes::bytes(x.stride);
  for (int32_t first = 0; first < x.rows; first += kPlaneTokens) {
    const int32_t end = x.rows - first < kPlaneTokens ? x.rows : first + kPlaneTokens;
    const uint8_t* arranged[kPlaneTokens];
    for (int32_t t = first; t < end; ++t) {
      arranged[t - first] = Planes::arrange(x.q + int64_t{t} * x.stride, x.cols,
                                            scratch + static_cast<size_t>(t - first) * bytes);
    }
    for (int32_t row = rows.begin; row < rows.end; row += kPlaneRows) {
      for (int32_t t = first; t < end; ++t) {
        plane_panel<Planes>(w, x, t, row, arranged[t - first], y + t * y_stride + row);
      }
    }
  }
}

template <class Planes>
size_t plane_scratch_bytes(int32_t cols, int32_t tokens) noexcept {
  const int32_t most = tokens < kPlaneTokens ? tokens : kPlaneTokens;
  return static_cast<size_t>(most) *
         Planes::bytes(static_cast<int32_t>(round_up(cols, kQ8ColsAlign)));
}

void counted_matmul(const TernaryMatrix& w, const Q8Rows& x, RowRange rows, float* y,
                    int64_t y_stride, uint8_t* scratch) noexcept {
  if (x.bits == 4) {
    plane_matmul<CountedPlanes<4>>(w, x, rows, y, y_stride, scratch);
  } else {
    plane_matmul<CountedPlanes<8>>(w, x, rows, y, y_stride, scratch);
  }
}

constexpr TernaryKernel kCounted{kPlaneLayout, counted_matmul,
                                 plane_scratch_bytes<CountedPlanes<8>>};
constexpr TernaryKernel kMasked{kPlaneLayout, plane_matmul<MaskedPlanes>,
                                plane_scratch_bytes<MaskedPlanes>};
