// Weights in the order in which kernels read them (kernels/DESIGN.md, section 1, draws the layouts), as `tern convert --type tern`
// writes them. A layout is a packing and a tile; rows and columns are padded to whole tiles with weights of 0 (sign: -1). This file reads
// the layouts from their description, without kernels: for programs that want another one, and for the way back. The scales lie in
// a tensor of their own.
//
//   two_bit  a byte holds a column of 4 rows, code w + 1 of row f * lanes + lane in bits 2 f; lanes = tile rows / 4
//   base3    of 5 rows, digits w + 1, most significant first, as 256ths of 3^5, rounded up
//   sign     of 8 rows, a bit each: 1 is +1, 0 is -1
//   bitplanes  a step of K columns has the bits of its nonzeros, K of each row of the tile, then those of its minus signs

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "engine/io/formats.h"

namespace tern::formats {
namespace {

// Rows and columns of all that Tern runs are 32-bit numbers; so no product below can overflow.
constexpr int64_t kMostOneWay = INT32_MAX;

constexpr int64_t round_up(int64_t value, int64_t step) {
  return (value + step - 1) / step * step;
}

constexpr int32_t weights_of_byte(PackedTiles tiles) {
  constexpr std::array<int32_t, 4> kWeights = {4, 5, 4, 8};
  return kWeights[static_cast<size_t>(tiles.packing)];
}

template <StoredPacking kPacking, int kRows, int kCols>
struct Tiled {
  static constexpr PackedTiles kTiles{kPacking, kRows, kCols};
  static constexpr int64_t kFields =
      kPacking == StoredPacking::kBitplanes ? 1 : weights_of_byte(kTiles);
  static constexpr int64_t kLanes = kRows / kFields;

  static uint64_t bytes(int64_t rows, int64_t cols) {
    if (rows <= 0 || cols <= 0 || rows > kMostOneWay || cols > kMostOneWay) {
      return 0;
    }
    return static_cast<uint64_t>(round_up(rows, kRows) * round_up(cols, kCols) /
                                 weights_of_byte(kTiles));
  }

  // The code of one byte of rows that share it; 3: it stands for none.
  static unsigned code_of(unsigned byte, int64_t field) {
    if constexpr (kPacking == StoredPacking::kTwoBit) {
      return byte >> (2 * field) & 3U;
    } else if constexpr (kPacking == StoredPacking::kSign) {
      return (byte >> field & 1U) * 2;
    } else {
      // Five digits are a number below 243, and its fraction rounded up no other's.
      const unsigned number = byte * 243 / 256;
      constexpr std::array<unsigned, 5> kPowers = {81, 27, 9, 3, 1};
      return (number * 256 + 242) / 243 == byte ? number / kPowers[static_cast<size_t>(field)] % 3
                                                : 3;
    }
  }

  static bool shared_bytes_row(const uint8_t* panel, int64_t row, int64_t cols, int8_t* trits) {
    const int64_t field = row / kLanes;
    const uint8_t* lane = panel + row % kLanes * kCols;
    bool good = true;
    for (int64_t col = 0; col < cols; ++col) {
      const unsigned code = code_of(lane[col / kCols * kLanes * kCols + col % kCols], field);
      good &= code != 3;
      trits[col] = static_cast<int8_t>(static_cast<int>(code) - 1);
    }
    return good;
  }

  static bool bitplanes_row(const uint8_t* panel, int64_t row, int64_t cols, int8_t* trits) {
    constexpr int64_t kPlane = int64_t{kRows} * kCols / 8;
    bool good = true;
    for (int64_t col = 0; col < cols; ++col) {
      const uint8_t* nonzeros =
          panel + col / kCols * 2 * kPlane + row * (kCols / 8) + col % kCols / 8;
      const int nonzero = nonzeros[0] >> (col % 8) & 1;
      const int minus = nonzeros[kPlane] >> (col % 8) & 1;
      good &= nonzero >= minus;
      trits[col] = static_cast<int8_t>(nonzero - 2 * minus);
    }
    return good;
  }

  static bool unpack(std::span<const std::byte> data, int64_t /*rows*/, int64_t cols,
                     int64_t first_row, int64_t row_count, int8_t* trits, float* /*scales*/) {
    const auto panel_bytes = static_cast<int64_t>(bytes(kRows, cols));
    const auto* panels = reinterpret_cast<const uint8_t*>(data.data());
    bool good = true;
    for (int64_t i = 0; i < row_count; ++i) {
      const int64_t row = first_row + i;
      const uint8_t* panel = panels + row / kRows * panel_bytes;
      if constexpr (kPacking == StoredPacking::kBitplanes) {
        good &= bitplanes_row(panel, row % kRows, cols, trits + i * cols);
      } else {
        good &= shared_bytes_row(panel, row % kRows, cols, trits + i * cols);
      }
    }
    return good;
  }
};

float scale_at(const std::byte* scales, int64_t index) {
  float value = 0;
  std::memcpy(&value, scales + index * int64_t{sizeof value}, sizeof value);
  return value;
}

template <StoredPacking kPacking, int kRows, int kCols>
constexpr WeightFormat tiled(std::string_view name) {
  using Layout = Tiled<kPacking, kRows, kCols>;
  return {.name = name,
          .ggml_type = kPackedType + static_cast<uint32_t>(kPacking),
          .block_weights = weights_of_byte(Layout::kTiles),
          .block_bytes = 1,
          .extra_bytes = 0,
          .rows_are_blocks = false,
          .ternary = true,
          .has_zeros = kPacking != StoredPacking::kSign,
          .unpack = Layout::unpack,
          .scale_at = scale_at,
          .tiles = Layout::kTiles,
          .bytes = Layout::bytes};
}

// Every layout that a table of kernels has (tests/kernels/pack_test.cpp goes through the tables).
constexpr std::array<WeightFormat, 13> kPacked = {
    tiled<StoredPacking::kTwoBit, 16, 4>("TERN/two_bit-16x4"),
    tiled<StoredPacking::kTwoBit, 32, 4>("TERN/two_bit-32x4"),
    tiled<StoredPacking::kTwoBit, 64, 4>("TERN/two_bit-64x4"),
    tiled<StoredPacking::kBase3, 20, 4>("TERN/base3-20x4"),
    tiled<StoredPacking::kBase3, 40, 4>("TERN/base3-40x4"),
    tiled<StoredPacking::kBase3, 80, 4>("TERN/base3-80x4"),
    tiled<StoredPacking::kBitplanes, 8, 32>("TERN/bitplanes-8x32"),
    tiled<StoredPacking::kBitplanes, 8, 64>("TERN/bitplanes-8x64"),
    tiled<StoredPacking::kBitplanes, 32, 8>("TERN/bitplanes-32x8"),
    tiled<StoredPacking::kBitplanes, 64, 8>("TERN/bitplanes-64x8"),
    tiled<StoredPacking::kSign, 32, 4>("TERN/sign-32x4"),
    tiled<StoredPacking::kSign, 64, 4>("TERN/sign-64x4"),
    tiled<StoredPacking::kSign, 128, 4>("TERN/sign-128x4")};

// Output heads (kernels/split.h): all coarse rows, all fine rows, two norms a row. Blocks of 256 columns; a coarse row is codes
// (128 bytes a block), scales (16), halves (2), to a multiple of 64.
uint64_t split_bytes(int64_t rows, int64_t cols) {
  if (rows <= 0 || cols <= 0 || rows > kMostOneWay || cols > kMostOneWay) {
    return 0;
  }
  const int64_t blocks = round_up(cols, 256) / 256;
  return static_cast<uint64_t>(rows * (round_up(146 * blocks, 64) + 64 * blocks + 8));
}

}  // namespace

const WeightFormat kSplitHead = {.name = "TERN/split",
                                 .ggml_type = kSplitHeadType,
                                 .block_weights = 256,
                                 .block_bytes = 210,
                                 .extra_bytes = 0,
                                 .rows_are_blocks = true,
                                 .ternary = false,
                                 .bytes = split_bytes};

std::vector<const WeightFormat*> packed_formats(uint32_t ggml_type) {
  std::vector<const WeightFormat*> found;
  for (const WeightFormat& format : kPacked) {
    if (format.ggml_type == ggml_type) {
      found.push_back(&format);
    }
  }
  return found;
}

const WeightFormat* find_packed(PackedTiles tiles) {
  const auto* found = std::ranges::find(kPacked, tiles, &WeightFormat::tiles);
  return found == kPacked.end() ? nullptr : found;
}

}  // namespace tern::formats
