#pragma once
// How packed ternary weights lie in memory. A layout is data: a packing (how many weights share a byte, and how) and a tile
// (how rows and columns are interleaved). One packing function serves all layouts (pack.h), one kernel reads each.

#include <cstddef>
#include <cstdint>

namespace tern {

enum class Packing : uint8_t {
  kTwoBit,     // 2 bits a weight: code w + 1 in {0, 1, 2}; four rows of a panel share a byte
  kBase3,      // 1.6 bits: digits w + 1 of five rows share a byte
  kBitplanes,  // 2 bits: one plane of nonzeros, one of minus signs
  kSign,       // 1 bit: weights are -1 or +1; eight rows share a byte
};

// Rows are grouped in panels of `tile_rows`; within a panel, columns advance in steps of `tile_k`: 4 where rows share bytes
// (kTwoBit, kBase3, kSign), 32 or 64 bits of one row for kBitplanes. DESIGN.md draws them.
struct PackedLayout {
  Packing packing = Packing::kTwoBit;
  uint8_t tile_rows = 0;
  uint16_t tile_k = 0;

  friend bool operator==(const PackedLayout&, const PackedLayout&) = default;
};

struct RowRange {
  int32_t begin = 0;
  int32_t end = 0;
};

constexpr int64_t round_up(int64_t value, int64_t step) {
  return (value + step - 1) / step * step;
}

// How many rows share a byte, in packings where rows do.
constexpr int32_t fields_of(Packing packing) {
  switch (packing) {
    case Packing::kTwoBit:
      return 4;
    case Packing::kBase3:
      return 5;
    case Packing::kSign:
      return 8;
    case Packing::kBitplanes:
      return 1;
  }
  return 1;
}

// Rows and columns after padding to whole tiles. Padding weights are 0 (-1 in kSign); padding rows are never stored to y, and
// padding columns meet activations that are 0.
constexpr int64_t padded_rows(const PackedLayout& layout, int64_t rows) {
  return round_up(rows, layout.tile_rows);
}
constexpr int64_t padded_cols(const PackedLayout& layout, int64_t cols) {
  return round_up(cols, layout.tile_k);
}

// Bytes of a packed rows x cols matrix. Panels follow one another, each contiguous.
constexpr size_t packed_bytes(const PackedLayout& layout, int64_t rows, int64_t cols) {
  const int64_t weights = padded_rows(layout, rows) * padded_cols(layout, cols);
  switch (layout.packing) {
    case Packing::kTwoBit:
    case Packing::kBitplanes:
      return static_cast<size_t>(weights / 4);
    case Packing::kBase3:
      return static_cast<size_t>(weights / 5);
    case Packing::kSign:
      return static_cast<size_t>(weights / 8);
  }
  return 0;
}

}  // namespace tern
