// Packing against the layout as DESIGN.md draws it.

#include "kernels/pack.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace tern::testing {
namespace {

struct Shape {
  PackedLayout layout;
  int32_t rows;
  int32_t cols;
};

const Shape kShapes[] = {
    {{Packing::kTwoBit, 32, 4}, 32, 64}, {{Packing::kTwoBit, 32, 4}, 5, 7},
    {{Packing::kTwoBit, 32, 4}, 1, 1},   {{Packing::kTwoBit, 32, 4}, 31, 258},
    {{Packing::kTwoBit, 64, 4}, 64, 20}, {{Packing::kTwoBit, 64, 4}, 50, 13},
    {{Packing::kTwoBit, 16, 4}, 16, 8},  {{Packing::kTwoBit, 16, 4}, 9, 5},
    {{Packing::kBase3, 40, 4}, 40, 64},  {{Packing::kBase3, 80, 4}, 77, 259},
    {{Packing::kBase3, 20, 4}, 20, 6},   {{Packing::kSign, 64, 4}, 64, 64},
    {{Packing::kSign, 128, 4}, 100, 29}, {{Packing::kSign, 32, 4}, 1, 1},
};
const Shape kBitplaneShapes[] = {
    {{Packing::kBitplanes, 8, 64}, 8, 128},
    {{Packing::kBitplanes, 8, 64}, 5, 70},
    {{Packing::kBitplanes, 16, 32}, 16, 64},
    {{Packing::kBitplanes, 16, 32}, 13, 41},
};

std::vector<int8_t> random_trits(const Shape& s) {
  std::mt19937 random(7);
  std::vector<int8_t> trits(static_cast<size_t>(s.rows * s.cols));
  for (int8_t& trit : trits) {
    trit = static_cast<int8_t>(static_cast<int>(random() % 3) - 1);
    if (s.layout.packing == Packing::kSign && trit == 0) {
      trit = 1;
    }
  }
  return trits;
}

// Digit `field` of a byte: what the packing says it stands for, minus 1.
int trit_in(Packing packing, int byte, int32_t field) {
  switch (packing) {
    case Packing::kTwoBit:
      return ((byte >> (2 * field)) & 3) - 1;
    case Packing::kSign:
      return ((byte >> field) & 1) == 0 ? -1 : 1;
    case Packing::kBase3: {
      // The byte is ceil(256 v / 243): v is the only number below 243 that it can stand for.
      const int v = byte * 243 / 256;
      const int powers[] = {81, 27, 9, 3, 1};
      return v / powers[field] % 3 - 1;
    }
    case Packing::kBitplanes:
      break;
  }
  ADD_FAILURE() << "rows do not share bytes in this packing";
  return 9;
}

// Field f of byte 4 lane + j in step s stands for row f lanes + lane, column 4 s + j.
TEST(Pack, PutsEveryWeightWhereTheLayoutSays) {
  for (const Shape& s : kShapes) {
    const std::vector<int8_t> trits = random_trits(s);
    std::vector<uint8_t> panel(panel_bytes(s.layout, s.cols));
    pack_panel(s.layout, trits.data(), s.rows, s.cols, panel.data());
    const int32_t fields = fields_of(s.layout.packing);
    const int32_t lanes = s.layout.tile_rows / fields;
    const int padding = s.layout.packing == Packing::kSign ? -1 : 0;
    for (size_t byte = 0; byte < panel.size(); ++byte) {
      const auto i = static_cast<int32_t>(byte);
      const int32_t col = i / (4 * lanes) * 4 + i % 4;
      for (int32_t field = 0; field < fields; ++field) {
        const int32_t row = field * lanes + i / 4 % lanes;
        const bool exists = row < s.rows && col < s.cols;
        const int expected = exists ? trits[static_cast<size_t>(row * s.cols + col)] : padding;
        ASSERT_EQ(trit_in(s.layout.packing, panel[byte], field), expected)
            << s.rows << " x " << s.cols << ", row " << row << ", column " << col;
      }
    }
  }
}

// A step of tile_k columns holds the nonzero bits of every row, then the bits of the minus ones.
TEST(Pack, PutsEveryBitOfBothPlanesWhereTheLayoutSays) {
  for (const Shape& s : kBitplaneShapes) {
    const std::vector<int8_t> trits = random_trits(s);
    std::vector<uint8_t> panel(panel_bytes(s.layout, s.cols));
    pack_panel(s.layout, trits.data(), s.rows, s.cols, panel.data());
    const int32_t step_bits = 2 * s.layout.tile_rows * s.layout.tile_k;
    for (int32_t bit = 0; bit < static_cast<int32_t>(8 * panel.size()); ++bit) {
      const int32_t plane = bit % step_bits / (step_bits / 2);
      const int32_t row = bit % (step_bits / 2) / s.layout.tile_k;
      const int32_t col = bit / step_bits * s.layout.tile_k + bit % s.layout.tile_k;
      const bool exists = row < s.rows && col < s.cols;
      const int trit = exists ? trits[static_cast<size_t>(row * s.cols + col)] : 0;
      ASSERT_EQ((panel[static_cast<size_t>(bit / 8)] >> (bit % 8)) & 1,
                plane == 0 ? trit != 0 : trit < 0)
          << "plane " << plane << ", row " << row << ", column " << col;
    }
  }
}

// Every number of five digits survives the fraction: the only byte arithmetic in which a rounding error could hide.
TEST(Pack, EveryBase3ByteUnpacks) {
  constexpr PackedLayout kLayout{Packing::kBase3, 20, 4};
  for (int v = 0; v < 243; ++v) {
    std::vector<int8_t> trits(20);
    for (int field = 0, rest = v; field < 5; ++field, rest /= 3) {
      trits[static_cast<size_t>(4 * field)] = static_cast<int8_t>(rest % 3 - 1);
    }
    std::vector<uint8_t> panel(panel_bytes(kLayout, 1));
    pack_panel(kLayout, trits.data(), 20, 1, panel.data());
    std::vector<int8_t> back(20);
    unpack_panel(kLayout, panel.data(), 20, 1, back.data());
    ASSERT_EQ(back, trits) << v;
  }
}

TEST(Pack, UnpacksWhatItPacked) {
  std::vector<Shape> shapes(std::begin(kShapes), std::end(kShapes));
  shapes.insert(shapes.end(), std::begin(kBitplaneShapes), std::end(kBitplaneShapes));
  for (const Shape& s : shapes) {
    const std::vector<int8_t> trits = random_trits(s);
    std::vector<uint8_t> panel(panel_bytes(s.layout, s.cols));
    pack_panel(s.layout, trits.data(), s.rows, s.cols, panel.data());
    std::vector<int8_t> back(trits.size(), 9);
    unpack_panel(s.layout, panel.data(), s.rows, s.cols, back.data());
    EXPECT_EQ(back, trits) << s.rows << " x " << s.cols;
  }
}

TEST(Pack, SizesCountWholeTiles) {
  constexpr PackedLayout kLayout{Packing::kTwoBit, 32, 4};
  EXPECT_EQ(packed_bytes(kLayout, 32, 4), 32U);
  EXPECT_EQ(packed_bytes(kLayout, 33, 5), 4U * 32U);
  EXPECT_EQ(panel_bytes(kLayout, 2560), 2560U * 8U);
  EXPECT_EQ(packed_bytes({Packing::kBase3, 80, 4}, 80, 4), 64U);
  EXPECT_EQ(packed_bytes({Packing::kSign, 64, 4}, 64, 4), 32U);
  // 128 Ki x 128 Ki: more bytes than an int32 counts.
  EXPECT_EQ(packed_bytes(kLayout, 1 << 17, 1 << 17), size_t{1} << 32);
}

}  // namespace
}  // namespace tern::testing
