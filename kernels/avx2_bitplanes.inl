// Bitplanes in 256-bit registers: 32 rows a panel. Included inside the unnamed namespace of an instruction-set file, after
// x86_bitplanes.inl and a multiply_unpacked().

// ---- From one byte a row, the byte of row r at place r, to int32 sums. Registers are unpacked within their 128-bit lanes:
// lane L has rows 16 L and on.

// An int16 a row: lane L of low has rows 16 L .. 16 L + 7, of high the eight rows after them.
struct WordRows {
  __m256i low;
  __m256i high;
};

// weight_a a + weight_b b of unsigned bytes; the caller sees to it that these fit.
inline WordRows weigh_bytes(__m256i a, __m256i b, int weight_a, int weight_b) {
  const __m256i weights =
      _mm256_set1_epi16(static_cast<int16_t>((weight_a & 0xFF) | (weight_b << 8)));
  return {_mm256_maddubs_epi16(_mm256_unpacklo_epi8(a, b), weights),
          _mm256_maddubs_epi16(_mm256_unpackhi_epi8(a, b), weights)};
}

// An int32 a row: lane L of quad[k] has rows 16 L + 4 k .. 16 L + 4 k + 3.
struct RowSums {
  __m256i quad[4];

  // += weight_a a + weight_b b
  void add(WordRows a, WordRows b, int weight_a, int weight_b) {
    const __m256i weights = _mm256_set1_epi32((weight_a & 0xFFFF) | (weight_b << 16));
    add_pairs(0, _mm256_unpacklo_epi16(a.low, b.low), weights);
    add_pairs(1, _mm256_unpackhi_epi16(a.low, b.low), weights);
    add_pairs(2, _mm256_unpacklo_epi16(a.high, b.high), weights);
    add_pairs(3, _mm256_unpackhi_epi16(a.high, b.high), weights);
  }
  PlaneSums in_row_order() const {
    return {{_mm256_permute2x128_si256(quad[0], quad[1], 0x20),
             _mm256_permute2x128_si256(quad[2], quad[3], 0x20),
             _mm256_permute2x128_si256(quad[0], quad[1], 0x31),
             _mm256_permute2x128_si256(quad[2], quad[3], 0x31)}};
  }

 private:
  void add_pairs(int k, __m256i pairs, __m256i weights) {
    quad[k] = _mm256_add_epi32(quad[k], _mm256_madd_epi16(pairs, weights));
  }
};

// ---- Popcount. AVX2 counts bits slowly (a table lookup for each half of a byte), so bits are added to bits first, by full adders:
// three bits of the same weight become one of that weight and one of twice it, in five operations. What bits M & (S ^ X_b)
// of the lower planes and S (of weight 1: the + popcount(S)) add up to is kept as a binary number in every place, one bit in
// each of `sum`; what overflows it has weight 2^(kPlanes - 1), as the bits of the top plane have, which count negatively. Of
// these two, four at a time are added up before anything is counted.

// a + b + c = a' + 2 carry
inline __m256i add_bits(__m256i& a, __m256i b, __m256i c) {
  const __m256i differ = _mm256_xor_si256(a, c);
  const __m256i carry = _mm256_xor_si256(c, _mm256_and_si256(differ, _mm256_xor_si256(b, c)));
  a = _mm256_xor_si256(differ, b);
  return carry;
}

// Ones in each byte.
inline __m256i count_bits(__m256i v) {
  const __m256i counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                          0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i low = _mm256_set1_epi8(15);
  return _mm256_add_epi8(
      _mm256_shuffle_epi8(counts, _mm256_and_si256(v, low)),
      _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16(v, 4), low)));
}

// Bits of one weight, added four words at a time: ones + 2 twos + 4 (what was counted).
struct BitTally {
  __m256i ones;
  __m256i twos;
  __m256i counted;  // in bytes, 8 more for each four words

  void add(const __m256i* words) {
    const __m256i first = add_bits(ones, words[0], words[1]);
    const __m256i second = add_bits(ones, words[2], words[3]);
    counted = _mm256_add_epi8(counted, count_bits(add_bits(twos, first, second)));
  }
  __m256i rest() const {
    const __m256i pairs = count_bits(twos);
    return _mm256_add_epi8(count_bits(ones), _mm256_add_epi8(pairs, pairs));
  }
};

template <int kPlanes>
struct PlaneCounter {
  static constexpr int kLower = kPlanes - 1;
  static constexpr int kTopWeight = 1 << kLower;
  static constexpr int32_t kSteps = 4;  // that add() takes at once
  static constexpr int32_t kRun =
      31;  // calls of add() between calls of flush(): 8 * 31 fits a byte
  static constexpr int32_t kStepWords = kPlanes;

  __m256i sum[kLower] = {};
  BitTally carries = {};
  BitTally tops = {};
  RowSums rows = {};

  void add(const uint8_t* planes, const uint32_t* x) {
    __m256i carry[kSteps];
    __m256i top[kSteps];
    for (int i = 0; i < kSteps; ++i) {
      const __m256i nonzero = V::load_ints(planes + i * (2 * kPlaneBytes));
      const __m256i minus = V::load_ints(planes + i * (2 * kPlaneBytes) + kPlaneBytes);
      carry[i] = minus;
      for (int b = 0; b < kLower; ++b) {
        carry[i] = add_bits(sum[b], bits(nonzero, minus, x[i * kPlanes + b]), carry[i]);
      }
      top[i] = bits(nonzero, minus, x[i * kPlanes + kLower]);
    }
    carries.add(carry);
    tops.add(top);
  }

  void flush() {
    const __m256i zero = _mm256_setzero_si256();
    rows.add(weigh_bytes(carries.counted, tops.counted, 1, -1), {zero, zero}, 4 * kTopWeight, 0);
    carries.counted = zero;
    tops.counted = zero;
  }

  // Of all that was added.
  PlaneSums total() {
    flush();
    __m256i low = _mm256_setzero_si256();   // of sum[0 .. 3]: 8 * 15 at most
    __m256i high = _mm256_setzero_si256();  // of the others, without the factor 16: 8 * 7
    for (int b = kLower; b-- > 0;) {
      __m256i& half = b < 4 ? low : high;
      half = _mm256_add_epi8(_mm256_add_epi8(half, half), count_bits(sum[b]));
    }
    rows.add(weigh_bytes(low, high, 1, 16), weigh_bytes(carries.rest(), tops.rest(), 1, -1), 1,
             kTopWeight);
    return rows.in_row_order();
  }

 private:
  // M & (S ^ X) = S ^ (M & X), for S is 0 where M is.
  static __m256i bits(__m256i nonzero, __m256i minus, uint32_t x) {
    const auto x_bits = _mm256_set1_epi32(static_cast<int32_t>(x));
    return _mm256_xor_si256(minus, _mm256_and_si256(nonzero, x_bits));
  }
};

// Which bytes of the words of kPlanes planes, 4 steps each, make the prepared bytes of those steps: step after step, plane after
// plane, each byte four times. Within 128-bit lanes.
template <int kPlanes>
struct PlaneOrder {
  alignas(32) uint8_t index[16 * kPlanes];

  constexpr PlaneOrder() : index() {
    for (int i = 0; i < 16 * kPlanes; ++i) {
      const int step = i / (4 * kPlanes);
      const int plane = i % (4 * kPlanes) / 4;
      index[i] = static_cast<uint8_t>((4 * plane + step) % 16);
    }
  }
};

template <int kPlanes>
struct Popcount {
  static constexpr int32_t kPreparedBytes = 4 * kPlanes;
  static constexpr int32_t kDirectLimit = kPlanes == 4 ? 5 : 1;

  static void prepare(const int8_t* q, int32_t steps, uint8_t* out) {
    static constexpr PlaneOrder<kPlanes> kOrder;
    for (int32_t step = 0; step < steps; step += 4, q += 32) {
      __m256i v = _mm256_load_si256(reinterpret_cast<const __m256i*>(q));
      v = kPlanes == 4 ? _mm256_slli_epi16(v, 4) : v;  // only the top four bits of a byte are read
      alignas(32) int32_t words[8];
      for (int b = kPlanes; b-- > 0;) {
        words[b] = _mm256_movemask_epi8(v);
        words[b + (8 - kPlanes)] = words[b];  // four planes: the same in both lanes
        v = _mm256_add_epi8(v, v);
      }
      const __m256i all = V::load_ints(words);
      for (int i = 0; i < 16 * kPlanes; i += 32) {
        const __m256i ordered = _mm256_shuffle_epi8(all, V::load_ints(kOrder.index + i));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), ordered);
        out += 32;
      }
    }
  }

  template <int kPanels>
  static void multiply(Planes planes, const uint8_t* x, int32_t steps, PlaneSums* out) {
    using Counter = PlaneCounter<kPlanes>;
    constexpr int32_t kRun = Counter::kRun * Counter::kSteps;
    const auto* words = reinterpret_cast<const uint32_t*>(x);
    Counter counters[kPanels];
    for (int32_t run = 0; run < steps; run += kRun) {
      const int32_t end = at_most(steps, run + kRun);
      for (int p = 0; p < kPanels; ++p) {
        Counter counter = counters[p];
        int32_t step = run;
        for (; step + Counter::kSteps <= end; step += Counter::kSteps) {
          for (int i = 0; i < Counter::kSteps; ++i) {
            prefetch(planes.at(p, step + i));
          }
          counter.add(planes.at(p, step), words + step * kPlanes);
        }
        if (step < end) {
          // Steps that are missing to four: no weights.
          alignas(32) uint8_t last[Counter::kSteps * 2 * kPlaneBytes] = {};
          __builtin_memcpy(last, planes.at(p, step),
                           static_cast<size_t>(end - step) * (2 * kPlaneBytes));
          counter.add(last, words + step * kPlanes);
        }
        counter.flush();
        counters[p] = counter;
      }
    }
    for (int p = 0; p < kPanels; ++p) {
      out[p] = counters[p].total();
    }
  }
};

// ---- Masked. Four bits of a plane say which of four activations are added: a table of the 16 sums, made once for all rows, is read
// by vpshufb for 32 rows at once. So that sums fit a byte, an activation is split: q = 16 h + l, with l = 0..15. Sums of w l over
// the eight columns of a step are -120 .. 120, those of w h -64 .. 64, as are those of w q if q has 4 bits.
//
// What S adds is taken off twice from what M adds. Table entries are 64 too large; of two entries of M minus twice two of S, that
// leaves -128, which is +128 in a byte: sums are unsigned, and two of them in an int16 can be added without minding signs.

template <int kPlanes>
struct Masked {
  static constexpr int kParts = kPlanes == 4 ? 1 : 2;         // l and h, or all of q
  static constexpr int32_t kPreparedBytes = kParts * 2 * 16;  // columns 0..3, then 4..7; l before h
  static constexpr int32_t kDirectLimit = kPlanes == 4 ? kAllTokens : 6;
  // Steps until an int16 is full: unsigned with the 128 on top, signed without.
  static constexpr int32_t kRun = 256;
  static_assert((120 + 128) * kRun < 65536 && 120 * kRun < 32768);

  static void prepare(const int8_t* q, int32_t steps, uint8_t* out) {
    for (int32_t step = 0; step < steps; step += 2, q += 16) {
      __m256i v = lanes(_mm_load_si128(reinterpret_cast<const __m128i*>(q)));
      if constexpr (kParts == 2) {
        const __m256i nibble = _mm256_set1_epi8(15);
        const __m256i sign =
            _mm256_setr_epi32(0, 0, 0, 0, 0x08080808, 0x08080808, 0x08080808, 0x08080808);
        const __m256i low = _mm256_and_si256(v, nibble);
        const __m256i high = _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble);
        // l in the lower lane, h in the upper one.
        v = _mm256_blend_epi32(low, high, 0xF0);
        v = _mm256_sub_epi8(_mm256_xor_si256(v, sign), sign);
      }
      write_tables(v, out);
      write_tables(_mm256_bsrli_epi128(v, 8), out + kPreparedBytes);
      out += 2 * kPreparedBytes;
    }
  }

  template <int kPanels>
  static void multiply(Planes planes, const uint8_t* x, int32_t steps, PlaneSums* out) {
    RowSums rows[kPanels] = {};
    for (int32_t run = 0; run < steps; run += kRun) {
      const int32_t end = at_most(steps, run + kRun);
      // The sum of row 2 i + 256 times that of row 2 i + 1, modulo 65536; and that of row 2 i + 1.
      __m256i both[kPanels][kParts] = {};
      __m256i odd[kPanels][kParts] = {};
      for (int32_t step = run; step < end; ++step) {
        for (int p = 0; p < kPanels; ++p) {
          prefetch(planes.at(p, step));
          add_step(planes.nonzero(p, step), planes.minus(p, step), x + step * kPreparedBytes,
                   both[p], odd[p]);
        }
      }
      for (int p = 0; p < kPanels; ++p) {
        const WordRows first = separate(both[p][0], odd[p][0], end - run);
        if constexpr (kParts == 2) {
          rows[p].add(first, separate(both[p][1], odd[p][1], end - run), 1, 16);
        } else {
          rows[p].add(first, first, 1, 0);
        }
      }
    }
    for (int p = 0; p < kPanels; ++p) {
      out[p] = rows[p].in_row_order();
    }
  }

 private:
  // The tables of the 8 activations at the start of each lane.
  static void write_tables(__m256i v, uint8_t* out) {
    // 0, q0, q1, q0 + q1, 0, q2, q3, q2 + q3, 0, q4, ...: the sums of two, each 32 too large
    const __m256i one = lanes(_mm_setr_epi8(-1, 0, 1, 0, -1, 2, 3, 2, -1, 4, 5, 4, -1, 6, 7, 6));
    const __m256i other =
        lanes(_mm_setr_epi8(-1, -1, -1, 1, -1, -1, -1, 3, -1, -1, -1, 5, -1, -1, -1, 7));
    const __m256i sums =
        _mm256_add_epi8(_mm256_shuffle_epi8(v, one), _mm256_shuffle_epi8(v, other));
    const __m256i pairs = _mm256_add_epi8(sums, _mm256_set1_epi8(32));
    // The sums of four, by the low and the high two bits of the table's index.
    const __m128i low = _mm_setr_epi8(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
    const __m128i high = _mm_setr_epi8(4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7);
    const __m128i next = _mm_set1_epi8(8);  // from columns 0..3 to columns 4..7
    const __m128i next_low = _mm_add_epi8(low, next);
    const __m128i next_high = _mm_add_epi8(high, next);
    auto* tables = reinterpret_cast<__m256i*>(out);
    if constexpr (kParts == 1) {  // both lanes are alike: one table in each
      _mm256_storeu_si256(tables, add_entries(pairs, _mm256_set_m128i(next_low, low),
                                              _mm256_set_m128i(next_high, high)));
    } else {
      _mm256_storeu_si256(tables, add_entries(pairs, lanes(low), lanes(high)));
      _mm256_storeu_si256(tables + 1, add_entries(pairs, lanes(next_low), lanes(next_high)));
    }
  }
  static __m256i add_entries(__m256i entries, __m256i first, __m256i second) {
    return _mm256_add_epi8(_mm256_shuffle_epi8(entries, first),
                           _mm256_shuffle_epi8(entries, second));
  }
  static __m256i lanes(__m128i v) { return _mm256_broadcastsi128_si256(v); }

  static __m256i table(const uint8_t* x, int columns, int part) {
    return lanes(
        _mm_load_si128(reinterpret_cast<const __m128i*>(x + (columns * kParts + part) * 16)));
  }

  static void add_step(__m256i nonzero, __m256i minus, const uint8_t* x, __m256i* both,
                       __m256i* odd) {
    const __m256i nibble = _mm256_set1_epi8(15);
    const __m256i nonzero_low = _mm256_and_si256(nonzero, nibble);
    const __m256i nonzero_high = _mm256_and_si256(_mm256_srli_epi16(nonzero, 4), nibble);
    const __m256i minus_low = _mm256_and_si256(minus, nibble);
    const __m256i minus_high = _mm256_and_si256(_mm256_srli_epi16(minus, 4), nibble);
    for (int part = 0; part < kParts; ++part) {
      const __m256i low = table(x, 0, part);
      const __m256i high = table(x, 1, part);
      const __m256i of_nonzero = _mm256_add_epi8(_mm256_shuffle_epi8(low, nonzero_low),
                                                 _mm256_shuffle_epi8(high, nonzero_high));
      const __m256i of_minus = _mm256_add_epi8(_mm256_shuffle_epi8(low, minus_low),
                                               _mm256_shuffle_epi8(high, minus_high));
      const __m256i sums = _mm256_sub_epi8(of_nonzero, _mm256_add_epi8(of_minus, of_minus));
      both[part] = _mm256_add_epi16(both[part], sums);
      odd[part] = _mm256_add_epi16(odd[part], _mm256_srli_epi16(sums, 8));
    }
  }

  // Takes off the 128 that each step added.
  static WordRows separate(__m256i both, __m256i odd, int32_t steps) {
    const __m256i offset = _mm256_set1_epi16(static_cast<int16_t>(128 * steps));
    const __m256i even = _mm256_sub_epi16(both, _mm256_slli_epi16(odd, 8));
    const __m256i even_sums = _mm256_sub_epi16(even, offset);
    const __m256i odd_sums = _mm256_sub_epi16(odd, offset);
    return {_mm256_unpacklo_epi16(even_sums, odd_sums), _mm256_unpackhi_epi16(even_sums, odd_sums)};
  }
};

// ---- Unpacked: codes w + 1 of one byte each, four columns of a row in each 32-bit lane.

struct UnpackedPlanes {
  static constexpr PackedLayout kLayout = kPlanesLayout;
  static constexpr int32_t kChunkSteps = kUnpackedSteps;
  static constexpr int kTokenTile = kUnpackedTile;

  static void unpack(const uint8_t* packed, int32_t steps, __m256i (*codes)[4]) {
    for (int32_t step = 0; step < steps; step += 2, packed += 2 * kPlaneBytes) {
      for (int b = 0; b < 4; ++b) {
        const __m256i nonzero = spread(packed + 8 * b);
        const __m256i minus = spread(packed + kPlaneBytes + 8 * b);
        codes[step][b] = codes_of(nonzero, minus, 0x08040201);
        codes[step + 1][b] = codes_of(nonzero, minus, static_cast<int32_t>(0x80402010));
      }
    }
  }

  template <int kTokens>
  static void multiply_tile(const __m256i (*codes)[4], int32_t steps, Activations x,
                            __m256i (*sums)[4]) {
    multiply_unpacked<kTokens>(codes, steps, x, sums);
  }

 private:
  // The bytes of eight rows, each in all four bytes of its row's lane.
  static __m256i spread(const uint8_t* rows) {
    int64_t eight = 0;
    __builtin_memcpy(&eight, rows, sizeof(eight));
    return _mm256_shuffle_epi8(_mm256_set1_epi64x(eight),
                               _mm256_setr_epi8(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3,  //
                                                4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7));
  }
  static __m256i codes_of(__m256i nonzero, __m256i minus, int32_t columns) {
    const __m256i bits = _mm256_set1_epi32(columns);
    const __m256i is_nonzero = _mm256_cmpeq_epi8(_mm256_and_si256(nonzero, bits), bits);
    const __m256i is_minus = _mm256_cmpeq_epi8(_mm256_and_si256(minus, bits), bits);
    // Comparisons yield -1: 1 + nonzero - 2 minus.
    const __m256i one_or_two = _mm256_sub_epi8(_mm256_set1_epi8(1), is_nonzero);
    return _mm256_add_epi8(one_or_two, _mm256_add_epi8(is_minus, is_minus));
  }
};
