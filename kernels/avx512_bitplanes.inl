// Bitplanes in 512-bit registers: 64 rows a panel. Included inside the unnamed namespace of avx512.cpp, after x86_bitplanes.inl
// and x86_vnni.inl; needs BITALG and VBMI.

// ---- From one byte a row, the byte of row r at place r, to int32 sums. Registers are unpacked within their 128-bit lanes:
// lane L has rows 16 L and on.

// An int32 a row: lane L of quad[k] has rows 16 L + 4 k .. 16 L + 4 k + 3.
struct RowSums {
  __m512i quad[4];

  // += an int16 a row: lane L of low has rows 16 L .. 16 L + 7, of high the eight rows after them.
  void add(__m512i low, __m512i high) {
    const __m512i zero = _mm512_setzero_si512();
    const __m512i ones = _mm512_set1_epi16(1);
    quad[0] = _mm512_dpwssd_epi32(quad[0], _mm512_unpacklo_epi16(low, zero), ones);
    quad[1] = _mm512_dpwssd_epi32(quad[1], _mm512_unpackhi_epi16(low, zero), ones);
    quad[2] = _mm512_dpwssd_epi32(quad[2], _mm512_unpacklo_epi16(high, zero), ones);
    quad[3] = _mm512_dpwssd_epi32(quad[3], _mm512_unpackhi_epi16(high, zero), ones);
  }
  // += an unsigned byte a row
  void add(__m512i bytes) {
    const __m512i zero = _mm512_setzero_si512();
    add(_mm512_unpacklo_epi8(bytes, zero), _mm512_unpackhi_epi8(bytes, zero));
  }

  // Lane L of quad[k] becomes lane k of block L.
  PlaneSums in_row_order() const {
    const __m512i even_low = _mm512_shuffle_i32x4(quad[0], quad[1], 0x88);  // lanes 0 2 0 2
    const __m512i even_high = _mm512_shuffle_i32x4(quad[2], quad[3], 0x88);
    const __m512i odd_low = _mm512_shuffle_i32x4(quad[0], quad[1], 0xDD);  // lanes 1 3 1 3
    const __m512i odd_high = _mm512_shuffle_i32x4(quad[2], quad[3], 0xDD);
    return {{_mm512_shuffle_i32x4(even_low, even_high, 0x88),
             _mm512_shuffle_i32x4(odd_low, odd_high, 0x88),
             _mm512_shuffle_i32x4(even_low, even_high, 0xDD),
             _mm512_shuffle_i32x4(odd_low, odd_high, 0xDD)}};
  }
};

// A byte counts 8 bits a step: so many steps until it is full.
constexpr int32_t kCountRun = 31;
static_assert(8 * kCountRun <= 255);

// ---- Popcount: bits are counted by bytes, each of which is a row.

template <int kPlanes>
struct PlaneCounts {
  __m512i of[kPlanes];
  __m512i minus;

  void add(__m512i nonzero, __m512i minus_signs, const uint32_t* x) {
    constexpr int kAndXor = 0x60;  // a & (b ^ c)
    minus = _mm512_add_epi8(minus, _mm512_popcnt_epi8(minus_signs));
    for (int b = 0; b < kPlanes; ++b) {
      const __m512i x_bits = _mm512_set1_epi32(static_cast<int32_t>(x[b]));
      const __m512i bits = _mm512_ternarylogic_epi32(nonzero, minus_signs, x_bits, kAndXor);
      of[b] = _mm512_add_epi8(of[b], _mm512_popcnt_epi8(bits));
    }
  }

  // sums += the counts by their weights. Counts of at most 248: a pair reaches 248 * (64 - 128 or 16 + 32), all of them and the
  // minus signs -248 * 128 .. 248 * (127 + 1) = -31744 .. 31744.
  void add_to(RowSums& sums) const {
    static_assert(kCountRun * 8 * 128 <= 32767);
    const __m512i zero = _mm512_setzero_si512();
    __m512i low = _mm512_unpacklo_epi8(minus, zero);
    __m512i high = _mm512_unpackhi_epi8(minus, zero);
    for (int b = 0; b < kPlanes; b += 2) {
      const int second = b + 2 == kPlanes ? -(2 << b) : 2 << b;
      const __m512i weights = _mm512_set1_epi16(static_cast<int16_t>((1 << b) | (second * 256)));
      low = _mm512_add_epi16(low,
                             _mm512_maddubs_epi16(_mm512_unpacklo_epi8(of[b], of[b + 1]), weights));
      high = _mm512_add_epi16(
          high, _mm512_maddubs_epi16(_mm512_unpackhi_epi8(of[b], of[b + 1]), weights));
    }
    sums.add(low, high);
  }
};

// Which bytes of the words of kPlanes planes, 8 steps each, make the prepared bytes of those steps: step after step, plane after
// plane, each byte four times.
template <int kPlanes>
struct PlaneOrder {
  alignas(64) uint8_t index[32 * kPlanes];

  constexpr PlaneOrder() : index() {
    for (int i = 0; i < 32 * kPlanes; ++i) {
      const int step = i / (4 * kPlanes);
      const int plane = i % (4 * kPlanes) / 4;
      index[i] = static_cast<uint8_t>(8 * plane + step);
    }
  }
};

template <int kPlanes>
struct Popcount {
  static constexpr int32_t kPreparedBytes = 4 * kPlanes;
  static constexpr int32_t kDirectLimit = kPlanes == 4 ? 16 : 4;

  static void prepare(const int8_t* q, int32_t steps, uint8_t* out) {
    static constexpr PlaneOrder<kPlanes> kOrder;
    for (int32_t step = 0; step < steps; step += 8, q += 64) {
      __m512i v = V::load_ints(q);
      v = kPlanes == 4 ? _mm512_slli_epi16(v, 4) : v;  // only the top four bits of a byte are read
      alignas(64) uint64_t words[8] = {};
      for (int b = kPlanes; b-- > 0;) {
        words[b] = _cvtmask64_u64(_mm512_movepi8_mask(v));
        v = _mm512_add_epi8(v, v);
      }
      const __m512i all = V::load_ints(words);
      for (int i = 0; i < 32 * kPlanes; i += 64, out += 64) {
        _mm512_storeu_si512(out, _mm512_permutexvar_epi8(V::load_ints(kOrder.index + i), all));
      }
    }
  }

  template <int kPanels>
  static void multiply(Planes planes, const uint8_t* x, int32_t steps, PlaneSums* out) {
    const auto* words = reinterpret_cast<const uint32_t*>(x);
    RowSums sums[kPanels] = {};
    for (int32_t run = 0; run < steps; run += kCountRun) {
      const int32_t end = at_most(steps, run + kCountRun);
      PlaneCounts<kPlanes> counts[kPanels] = {};
      for (int32_t step = run; step < end; ++step) {
        for (int p = 0; p < kPanels; ++p) {
          prefetch(planes.at(p, step));
          prefetch(planes.at(p, step) + 64);
          counts[p].add(planes.nonzero(p, step), planes.minus(p, step), words + step * kPlanes);
        }
      }
      for (int p = 0; p < kPanels; ++p) {
        counts[p].add_to(sums[p]);
      }
    }
    for (int p = 0; p < kPanels; ++p) {
      out[p] = sums[p].in_row_order();
    }
  }
};

// ---- Masked: 64 bits of a plane, eight rows of eight columns, are a mask register. It lets the activations through where weights
// are not zero, and their complements where they are minus: -q = ~q + 1, the ones of which are counted apart.

template <int kPlanes>  // whatever the activations' bits
struct Masked {
  static constexpr int32_t kPreparedBytes = kPlaneCols;
  static constexpr int32_t kDirectLimit = 2;

  static void prepare(const int8_t* q, int32_t steps, uint8_t* out) {
    __builtin_memcpy(out, q, static_cast<size_t>(steps) * kPlaneCols);
  }

  template <int kPanels>
  static void multiply(Planes planes, const uint8_t* x, int32_t steps, PlaneSums* out) {
    Sums sums[kPanels] = {};
    for (int32_t run = 0; run < steps; run += kCountRun) {
      const int32_t end = at_most(steps, run + kCountRun);
      __m512i minus_counts[kPanels] = {};
      for (int32_t step = run; step < end; ++step) {
        int64_t eight = 0;
        __builtin_memcpy(&eight, x + step * kPlaneCols, sizeof(eight));
        const __m512i q = _mm512_set1_epi64(eight);
        const __m512i complement = _mm512_set1_epi64(~eight);
        for (int p = 0; p < kPanels; ++p) {
          prefetch(planes.at(p, step));
          prefetch(planes.at(p, step) + 64);
          sums[p].add(planes.at(p, step), q, complement);
          minus_counts[p] =
              _mm512_add_epi8(minus_counts[p], _mm512_popcnt_epi8(planes.minus(p, step)));
        }
      }
      for (int p = 0; p < kPanels; ++p) {
        sums[p].minus.add(minus_counts[p]);
      }
    }
    for (int p = 0; p < kPanels; ++p) {
      out[p] = sums[p].total();
    }
  }

 private:
  struct Sums {
    __m512i rows[8];  // of rows 8 i .. 8 i + 7, each in two lanes
    RowSums minus;

    void add(const uint8_t* planes, __m512i q, __m512i complement) {
      const __m512i ones = _mm512_set1_epi8(1);
      for (int i = 0; i < 8; ++i) {
        const __mmask64 is_nonzero = mask(planes + 8 * i);
        const __mmask64 is_minus = mask(planes + kPlaneBytes + 8 * i);
        const __m512i added = _mm512_maskz_mov_epi8(is_nonzero, q);
        add_products(rows[i], ones, _mm512_mask_mov_epi8(added, is_minus, complement));
      }
    }
    static __mmask64 mask(const uint8_t* p) {
      uint64_t bits = 0;
      __builtin_memcpy(&bits, p, sizeof(bits));
      return _cvtu64_mask64(bits);
    }

    PlaneSums total() const {
      const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14,  //
                                             16, 18, 20, 22, 24, 26, 28, 30);
      const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15,  //
                                            17, 19, 21, 23, 25, 27, 29, 31);
      PlaneSums sums = minus.in_row_order();
      for (int b = 0; b < 4; ++b) {
        const __m512i low = rows[2 * b];
        const __m512i high = rows[2 * b + 1];
        const __m512i pairs = _mm512_add_epi32(_mm512_permutex2var_epi32(low, even, high),
                                               _mm512_permutex2var_epi32(low, odd, high));
        sums.block[b] = _mm512_add_epi32(sums.block[b], pairs);
      }
      return sums;
    }
  };
};

// ---- Unpacked: codes w + 1 of one byte each, four columns of a row in each 32-bit lane.

struct UnpackedPlanes {
  static constexpr PackedLayout kLayout = kPlanesLayout;
  static constexpr int32_t kChunkSteps = kUnpackedSteps;
  static constexpr int kTokenTile = kUnpackedSums / 4;

  static void unpack(const uint8_t* packed, int32_t steps, __m512i (*codes)[4]) {
    for (int32_t step = 0; step < steps; step += 2, packed += 2 * kPlaneBytes) {
      const __m512i nonzero = V::load_ints(packed);
      const __m512i minus = V::load_ints(packed + kPlaneBytes);
      for (int b = 0; b < 4; ++b) {
        const __m512i rows = rows_of_bytes(16 * b);
        const __m512i block_nonzero = _mm512_permutexvar_epi8(rows, nonzero);
        const __m512i block_minus = _mm512_permutexvar_epi8(rows, minus);
        codes[step][b] = codes_of(block_nonzero, block_minus, 0x08040201);
        codes[step + 1][b] = codes_of(block_nonzero, block_minus, static_cast<int32_t>(0x80402010));
      }
    }
  }

  template <int kTokens>
  static void multiply_tile(const __m512i (*codes)[4], int32_t steps, Activations x,
                            __m512i (*sums)[4]) {
    multiply_unpacked<kTokens>(codes, steps, x, sums);
  }

 private:
  // The sixteen rows from `first` on, each in all four bytes of its lane.
  static __m512i rows_of_bytes(int first) {
    const __m512i rows = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i all = _mm512_mullo_epi32(_mm512_add_epi32(rows, _mm512_set1_epi32(first)),
                                           _mm512_set1_epi32(0x01010101));
    return all;
  }
  static __m512i codes_of(__m512i nonzero, __m512i minus, int32_t columns) {
    const __m512i bits = _mm512_set1_epi32(columns);
    const __m512i ones = _mm512_set1_epi8(1);
    const __mmask64 is_nonzero = _mm512_test_epi8_mask(nonzero, bits);
    const __mmask64 is_minus = _mm512_test_epi8_mask(minus, bits);
    const __m512i one_or_two = _mm512_mask_add_epi8(ones, is_nonzero, ones, ones);
    return _mm512_maskz_mov_epi8(_knot_mask64(is_minus), one_or_two);
  }
};
