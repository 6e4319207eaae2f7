#include "kernels/pack.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace tern {
namespace {

constexpr int32_t kWordCols = 4;
constexpr uint32_t kEveryByte = 0x01010101;

// ---- Rows share bytes (two_bit, base3, sign): a 32-bit word holds 4 consecutive columns of one lane, a step holds one word a
// lane, and each byte holds one field of every row block (DESIGN.md draws it). A word is packed and unpacked at once.

struct SharedBytesPanel {
  Packing packing;
  int32_t fields;
  int32_t lanes;
  int32_t rows;  // that exist
  int32_t cols;

  SharedBytesPanel(const PackedLayout& layout, int32_t panel_rows, int32_t panel_cols)
      : packing(layout.packing),
        fields(fields_of(layout.packing)),
        lanes(layout.tile_rows / fields),
        rows(panel_rows),
        cols(panel_cols) {
    if (layout.tile_k != kWordCols || layout.tile_rows % fields != 0) {
      std::abort();  // no kernel has such a layout, so nobody can have got it from a table
    }
  }

  int32_t steps() const { return (cols + kWordCols - 1) / kWordCols; }
  int32_t row(int32_t field, int32_t lane) const { return field * lanes + lane; }
  size_t word_offset(int32_t step, int32_t lane) const {
    return static_cast<size_t>((int64_t{step} * lanes + lane) * kWordCols);
  }
  // Columns of a step that exist: 4, or fewer in the last.
  size_t width(int32_t step) const {
    return static_cast<size_t>(std::min(kWordCols, cols - step * kWordCols));
  }
};

// Subtracts 1 from each of four codes 0..2: bytes of 0x80 cannot borrow from one another.
constexpr uint32_t trits_of(uint32_t codes) {
  return ((codes | 0x80808080U) - kEveryByte) ^ 0x80808080U;
}

// The first digits of four fractions; what is left of them replaces `fractions`.
uint32_t first_digits(uint32_t& fractions) {
  const uint32_t even = (fractions & 0x00FF00FFU) * 3;  // 765 at most: two bytes have room for it
  const uint32_t odd = ((fractions >> 8) & 0x00FF00FFU) * 3;
  fractions = (even & 0x00FF00FFU) | ((odd & 0x00FF00FFU) << 8);
  return ((even >> 8) & 0x00FF00FFU) | (odd & 0xFF00FF00U);
}

// Columns packed at a time: a panel's bytes of so many stay in L1 while one lane after another is put among them.
constexpr int32_t kPackCols = 512;

// The bytes of one lane: of each column, the codes of one row of each row block (null: rows that do not exist, whose weights
// are 0). Plain loops over bytes, so that compilers turn them into vectors.
template <Packing kPacking>
void pack_lane(const int8_t* const* rows, int32_t cols, uint8_t* out) {
  constexpr int32_t kFields = fields_of(kPacking);
  std::memset(out, 0, static_cast<size_t>(cols));
  for (int32_t field = 0; field < kFields; ++field) {
    static constexpr int8_t kZeros[kPackCols] = {};
    const int8_t* row = rows[field] == nullptr ? kZeros : rows[field];
    for (int32_t col = 0; col < cols; ++col) {
      const auto code = static_cast<uint8_t>(row[col] + 1);
      if constexpr (kPacking == Packing::kTwoBit) {
        out[col] = static_cast<uint8_t>(out[col] | code << (2 * field));
      } else if constexpr (kPacking == Packing::kBase3) {
        out[col] = static_cast<uint8_t>(out[col] * 3 + code);  // 242 at most
      } else {
        out[col] = static_cast<uint8_t>(out[col] | (code >> 1) << field);  // only +1 has the code 2
      }
    }
  }
  if constexpr (kPacking == Packing::kBase3) {
    // Five base-3 digits, the first row block's first, as the fraction ceil(256 v / 243): multiplying it by 3 pushes the
    // digits out at the top one after another. Rounding up adds less than 1/256, and 3^5 times that is less than 1: too
    // little to change a digit. The ceiling is v + ceil(13 v / 243), and (13 v + 242) * 270 >> 16 is floor((13 v + 242) / 243)
    // for all v up to 242 (the packing tests try each).
    for (int32_t col = 0; col < cols; ++col) {
      const uint32_t v = out[col];
      out[col] = static_cast<uint8_t>(v + ((13 * v + 242) * 270 >> 16));
    }
  }
}

void unpack_word(Packing packing, int32_t fields, uint32_t word, uint32_t* trits) {
  for (int32_t field = 0; field < fields; ++field) {
    uint32_t codes = 0;
    switch (packing) {
      case Packing::kTwoBit:
        codes = (word >> (2 * field)) & (3 * kEveryByte);
        break;
      case Packing::kBase3:
        codes = first_digits(word);
        break;
      case Packing::kSign:
        codes = ((word >> field) & kEveryByte) << 1;
        break;
      case Packing::kBitplanes:
        break;
    }
    trits[field] = trits_of(codes);
  }
}

constexpr int32_t kMostFields = 8;

template <Packing kPacking>
void pack_shared_bytes(const PackedLayout& layout, const int8_t* trits, int32_t panel_rows,
                       int32_t cols, uint8_t* panel_out) {
  const SharedBytesPanel panel(layout, panel_rows, cols);
  for (int32_t first = 0; first < cols; first += kPackCols) {
    const int32_t count = std::min(kPackCols, cols - first);
    for (int32_t lane = 0; lane < panel.lanes; ++lane) {
      const int8_t* rows[kMostFields] = {};
      for (int32_t field = 0; field < panel.fields; ++field) {
        const int32_t row = panel.row(field, lane);
        rows[field] = row < panel.rows ? trits + int64_t{row} * cols + first : nullptr;
      }
      uint8_t lane_bytes[kPackCols];
      pack_lane<kPacking>(rows, count, lane_bytes);
      // Columns beyond the last: weights 0, as those of rows that do not exist.
      const int8_t* nothing[kMostFields] = {};
      const int32_t padded = static_cast<int32_t>(round_up(count, kWordCols));
      pack_lane<kPacking>(nothing, padded - count, lane_bytes + count);
      for (int32_t col = 0; col < padded; col += kWordCols) {
        std::memcpy(panel_out + panel.word_offset((first + col) / kWordCols, lane),
                    lane_bytes + col, kWordCols);
      }
    }
  }
}

void unpack_shared_bytes(const PackedLayout& layout, const uint8_t* panel_in, int32_t panel_rows,
                         int32_t cols, int8_t* trits) {
  const SharedBytesPanel panel(layout, panel_rows, cols);
  for (int32_t lane = 0; lane < panel.lanes; ++lane) {
    for (int32_t step = 0; step < panel.steps(); ++step) {
      uint32_t word = 0;
      std::memcpy(&word, panel_in + panel.word_offset(step, lane), sizeof(word));
      uint32_t words[kMostFields];
      unpack_word(panel.packing, panel.fields, word, words);
      for (int32_t field = 0; field < panel.fields; ++field) {
        const int32_t row = panel.row(field, lane);
        if (row < panel.rows) {
          std::memcpy(trits + int64_t{row} * cols + step * kWordCols, &words[field],
                      panel.width(step));
        }
      }
    }
  }
}

// ---- Bitplanes: a step holds tile_k columns of every row of the panel, first the bits of its nonzeros, then those of its
// minus signs; bit j of a row's word is column j of the step.

struct BitplanesPanel {
  int32_t rows;       // of the panel, whether they exist or not
  int32_t step_cols;  // a multiple of 8

  explicit BitplanesPanel(const PackedLayout& layout)
      : rows(layout.tile_rows), step_cols(layout.tile_k) {}

  size_t word_bytes() const { return static_cast<size_t>(step_cols / 8); }
  size_t plane_bytes() const { return static_cast<size_t>(rows) * word_bytes(); }
  // Where the nonzero bits of a row lie; its minus bits lie plane_bytes() further on.
  size_t offset(int32_t row, int32_t col) const {
    const auto step = static_cast<size_t>(col / step_cols);
    return step * 2 * plane_bytes() + static_cast<size_t>(row) * word_bytes() +
           static_cast<size_t>(col % step_cols / 8);
  }
};

void pack_bitplanes(const PackedLayout& layout, const int8_t* trits, int32_t panel_rows,
                    int32_t cols, uint8_t* panel_out) {
  const BitplanesPanel panel(layout);
  std::memset(panel_out, 0, panel_bytes(layout, cols));
  for (int32_t row = 0; row < panel_rows; ++row) {
    const int8_t* in = trits + int64_t{row} * cols;
    for (int32_t col = 0; col < cols; col += 8) {
      uint32_t nonzero = 0;
      uint32_t minus = 0;
      for (int32_t bit = 0; bit < 8 && col + bit < cols; ++bit) {
        nonzero |= uint32_t{in[col + bit] != 0} << bit;
        minus |= uint32_t{in[col + bit] < 0} << bit;
      }
      uint8_t* out = panel_out + panel.offset(row, col);
      out[0] = static_cast<uint8_t>(nonzero);
      out[panel.plane_bytes()] = static_cast<uint8_t>(minus);
    }
  }
}

void unpack_bitplanes(const PackedLayout& layout, const uint8_t* panel_in, int32_t panel_rows,
                      int32_t cols, int8_t* trits) {
  const BitplanesPanel panel(layout);
  for (int32_t row = 0; row < panel_rows; ++row) {
    for (int32_t col = 0; col < cols; ++col) {
      const uint8_t* in = panel_in + panel.offset(row, col);
      const int nonzero = (in[0] >> (col % 8)) & 1;
      const int minus = (in[panel.plane_bytes()] >> (col % 8)) & 1;
      trits[int64_t{row} * cols + col] = static_cast<int8_t>(nonzero - 2 * minus);
    }
  }
}

}  // namespace

void pack_panel(const PackedLayout& layout, const int8_t* trits, int32_t panel_rows, int32_t cols,
                uint8_t* panel_out) {
  switch (layout.packing) {
    case Packing::kTwoBit:
      return pack_shared_bytes<Packing::kTwoBit>(layout, trits, panel_rows, cols, panel_out);
    case Packing::kBase3:
      return pack_shared_bytes<Packing::kBase3>(layout, trits, panel_rows, cols, panel_out);
    case Packing::kSign:
      return pack_shared_bytes<Packing::kSign>(layout, trits, panel_rows, cols, panel_out);
    case Packing::kBitplanes:
      return pack_bitplanes(layout, trits, panel_rows, cols, panel_out);
  }
}

void unpack_panel(const PackedLayout& layout, const uint8_t* panel, int32_t panel_rows,
                  int32_t cols, int8_t* trits) {
  if (layout.packing == Packing::kBitplanes) {
    unpack_bitplanes(layout, panel, panel_rows, cols, trits);
  } else {
    unpack_shared_bytes(layout, panel, panel_rows, cols, trits);
  }
}

}  // namespace tern
