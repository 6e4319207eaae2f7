#include "kernels/pack.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace tern {
namespace {

// two_bit: a 32-bit word holds 4 consecutive columns of one row (its lane), the lanes of a step hold the rows of a row
// block, and the four 2-bit fields of each byte belong to four row blocks (DESIGN.md draws it). Packing and unpacking work on
// such words: four weights of four rows at once.
constexpr int32_t kFields = 4;
constexpr int32_t kWordCols = 4;
constexpr uint32_t kEveryByte = 0x01010101;

struct TwoBitPanel {
  int32_t lanes;
  int32_t rows;  // that exist
  int32_t cols;

  TwoBitPanel(const PackedLayout& layout, int32_t panel_rows, int32_t panel_cols)
      : lanes(layout.tile_rows / kFields), rows(panel_rows), cols(panel_cols) {
    if (layout.packing != Packing::kTwoBit || layout.tile_k != kWordCols ||
        layout.tile_rows % kFields != 0) {
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

// Adds 1 to each of four signed bytes, without carries from one into the next: -1, 0, 1 become 0, 1, 2.
constexpr uint32_t codes_of(uint32_t trits) {
  return ((trits & 0x7F7F7F7FU) + kEveryByte) ^ (trits & 0x80808080U);
}
// The inverse, for codes 0..2: bytes of 0x80 cannot borrow from one another.
constexpr uint32_t trits_of(uint32_t codes) {
  return ((codes | 0x80808080U) - kEveryByte) ^ 0x80808080U;
}

}  // namespace

void pack_panel(const PackedLayout& layout, const int8_t* trits, int32_t panel_rows, int32_t cols,
                uint8_t* panel_out) {
  const TwoBitPanel panel(layout, panel_rows, cols);
  for (int32_t lane = 0; lane < panel.lanes; ++lane) {
    for (int32_t step = 0; step < panel.steps(); ++step) {
      uint32_t word = 0;
      for (int32_t field = 0; field < kFields; ++field) {
        const int32_t row = panel.row(field, lane);
        uint32_t four = 0;  // trits; what does not exist weighs 0
        if (row < panel.rows) {
          std::memcpy(&four, trits + int64_t{row} * cols + step * kWordCols, panel.width(step));
        }
        word |= codes_of(four) << (2 * field);
      }
      std::memcpy(panel_out + panel.word_offset(step, lane), &word, sizeof(word));
    }
  }
}

void unpack_panel(const PackedLayout& layout, const uint8_t* panel_in, int32_t panel_rows,
                  int32_t cols, int8_t* trits) {
  const TwoBitPanel panel(layout, panel_rows, cols);
  for (int32_t field = 0; field < kFields; ++field) {
    for (int32_t lane = 0; lane < panel.lanes; ++lane) {
      const int32_t row = panel.row(field, lane);
      for (int32_t step = 0; row < panel.rows && step < panel.steps(); ++step) {
        uint32_t word = 0;
        std::memcpy(&word, panel_in + panel.word_offset(step, lane), sizeof(word));
        const uint32_t four = trits_of((word >> (2 * field)) & (3 * kEveryByte));
        std::memcpy(trits + int64_t{row} * cols + step * kWordCols, &four, panel.width(step));
      }
    }
  }
}

}  // namespace tern
