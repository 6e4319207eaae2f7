// Ternary products from bitplanes: what is the same for every x86 instruction set. Included inside the unnamed namespace of an
// instruction-set file, after x86_ternary.inl.
//
// Panels have four row blocks, steps eight columns: a register holds one byte of each row's nonzero plane M, the next one the
// same of its minus plane S. Three ways lead from planes to products:
//
// Popcount. The activations are cut into bit planes X_b: in two's complement q = sum of c_b x_b with c_b = 2^b, the top one
// negative. Its complement is ~q = -q - 1, so that for a weight of -1, w q = ~q + 1. M & (S ^ X_b) hence holds bit b of w q, or
// of w q - 1 where S is set, and
//     sum of w q = sum over b of c_b popcount(M & (S ^ X_b)) + popcount(S).
// No product is left, and activations of 4 bits need half of the planes.
//
// Masked. M and S choose which activations are added and which subtracted, without multiplying.
//
// Unpacked. For many tokens, planes become codes of one byte, as other packings do.
//
// The first two work on activations in an order of their own, which prepare() writes for a block of tokens. A Method is one
// of them:
//
//   static constexpr int32_t kPreparedBytes;      // of one token and step
//   static constexpr int32_t kDirectLimit;        // with more tokens, unpacking is faster
//   static void prepare(const int8_t* q, int32_t steps, uint8_t* out);   // steps: a multiple of 8
//   template <int kPanels> static void multiply(Planes, const uint8_t* x, int32_t steps, PlaneSums* out);
//
// multiply() yields exact sums of w q, rows in order.

constexpr int32_t kPlaneCols = 8;  // of a step
constexpr PackedLayout kPlanesLayout{Packing::kBitplanes, 4 * V::kLanes, kPlaneCols};
constexpr int32_t kPlaneRows = kPlanesLayout.tile_rows;
constexpr int32_t kPlaneBytes = kPlaneRows;    // of one plane in one step
constexpr int32_t kDirectBlock = 16;           // tokens that are prepared together
static_assert(kQ8SumBlock % kPlaneCols == 0);  // so column groups begin with a step

struct PlaneSums {
  V::Ints block[4];
};

// The planes of one panel, or of several `stride` bytes apart.
struct Planes {
  const uint8_t* panel;
  size_t stride;

  const uint8_t* at(int index, int32_t step) const {
    return panel + static_cast<size_t>(index) * stride + int64_t{step} * (2 * kPlaneBytes);
  }
  V::Ints nonzero(int index, int32_t step) const { return V::load_ints(at(index, step)); }
  V::Ints minus(int index, int32_t step) const {
    return V::load_ints(at(index, step) + kPlaneBytes);
  }
};

inline int32_t plane_steps(Columns columns) {
  return (columns.end - columns.begin + kPlaneCols - 1) / kPlaneCols;
}

template <class Method>
constexpr int64_t prepared_bytes(int32_t x_stride) {
  return int64_t{x_stride / kPlaneCols} * Method::kPreparedBytes;
}

// One token: rows first_row .. and, with two panels, also those `distance` rows further on. The last panel of a matrix may
// have fewer rows than it holds.
template <class Method, int kPanels>
inline void direct_planes(const TernaryMatrix& w, const uint8_t* x, float token_scale,
                          int32_t first_row, int32_t distance, float* y) {
  const size_t panel_bytes = packed_bytes(kPlanesLayout, kPlaneRows, w.cols);
  const Planes planes{w.codes + static_cast<size_t>(first_row / kPlaneRows) * panel_bytes,
                      static_cast<size_t>(distance / kPlaneRows) * panel_bytes};
  const Groups groups(w);
  V::Vec totals[kPanels][4];
  for (auto& of_panel : totals) {
    for (V::Vec& total : of_panel) {
      total = V::zero();
    }
  }
  for (int32_t group = 0; group < groups.count(); ++group) {
    const Columns columns = groups.at(group);
    const int32_t first_step = columns.begin / kPlaneCols;
    PlaneSums sums[kPanels];
    Method::template multiply<kPanels>({planes.at(0, first_step), planes.stride},
                                       x + int64_t{first_step} * Method::kPreparedBytes,
                                       plane_steps(columns), sums);
    for (int p = 0; p < kPanels; ++p) {
      V::Vec scales[4];
      load_scales<4>(w, first_row + p * distance, group, groups.count(), scales);
      for (int b = 0; b < 4; ++b) {
        totals[p][b] = add_scaled(totals[p][b], sums[p].block[b], V::all_ints(0), scales[b]);
      }
    }
  }
  for (int p = 0; p < kPanels; ++p) {
    const int32_t row = first_row + p * distance;
    store_rows<4>(totals[p], token_scale, at_most(w.rows - row, kPlaneRows), y + row);
  }
}

// Two panels at once, half of the range apart, as direct_rows() in x86_ternary.inl; each meets all tokens while it is in cache.
template <class Method>
void direct_plane_rows(const TernaryMatrix& w, const Q8Rows& x, int32_t first_token, RowRange rows,
                       Output out, uint8_t* scratch) {
  const int32_t tokens = at_most(x.rows - first_token, kDirectBlock);
  const int64_t stride = prepared_bytes<Method>(x.stride);
  for (int32_t t = 0; t < tokens; ++t) {
    Method::prepare(x.q + int64_t{first_token + t} * x.stride, x.stride / kPlaneCols,
                    scratch + t * stride);
  }
  const int32_t panels = (rows.end - rows.begin + kPlaneRows - 1) / kPlaneRows;
  const int32_t half = panels / 2 * kPlaneRows;
  for (int32_t row = rows.begin; row < rows.begin + half; row += kPlaneRows) {
    for (int32_t t = 0; t < tokens; ++t) {
      direct_planes<Method, 2>(w, scratch + t * stride, x.scale[first_token + t], row, half,
                               out.at(first_token + t, 0));
    }
  }
  for (int32_t row = rows.begin + 2 * half; row < rows.end; row += kPlaneRows) {
    for (int32_t t = 0; t < tokens; ++t) {
      direct_planes<Method, 1>(w, scratch + t * stride, x.scale[first_token + t], row, 0,
                               out.at(first_token + t, 0));
    }
  }
}

template <class Method, class Unpacked>
void plane_rows(const TernaryMatrix& w, const Q8Rows& x, RowRange rows, Output out,
                uint8_t* scratch) {
  if (x.rows > Method::kDirectLimit) {
    unpacked_rows<Unpacked>(w, x, rows, out, scratch);
    return;
  }
  for (int32_t token = 0; token < x.rows; token += kDirectBlock) {
    direct_plane_rows<Method>(w, x, token, rows, out, scratch);
  }
}

// Method<kPlanes> for activations of so many bits.
template <template <int> class Method, class Unpacked>
void planes_matmul(const TernaryMatrix& w, const Q8Rows& x, RowRange rows, float* y,
                   int64_t y_stride, uint8_t* scratch) noexcept {
  if (x.bits == 4) {
    plane_rows<Method<4>, Unpacked>(w, x, rows, {y, y_stride}, scratch);
  } else {
    plane_rows<Method<8>, Unpacked>(w, x, rows, {y, y_stride}, scratch);
  }
}

template <template <int> class Method, class Unpacked>
size_t planes_scratch_bytes(int32_t cols, int32_t tokens) noexcept {
  const auto x_stride = static_cast<int32_t>(round_up(cols, kQ8ColsAlign));
  const auto direct =
      static_cast<size_t>(at_most(tokens, kDirectBlock) * prepared_bytes<Method<8>>(x_stride));
  constexpr size_t kUnpacked = sizeof(TernaryScratch<Unpacked>);
  return direct < kUnpacked ? kUnpacked : direct;
}

template <template <int> class Method, class Unpacked>
constexpr TernaryKernel kBitplanesKernel{kPlanesLayout, planes_matmul<Method, Unpacked>,
                                         planes_scratch_bytes<Method, Unpacked>};
