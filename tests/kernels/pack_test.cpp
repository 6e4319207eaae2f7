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
};

std::vector<int8_t> random_trits(const Shape& s) {
  std::mt19937 random(7);
  std::vector<int8_t> trits(static_cast<size_t>(s.rows * s.cols));
  for (int8_t& trit : trits) {
    trit = static_cast<int8_t>(static_cast<int>(random() % 3) - 1);
  }
  return trits;
}

// Field f of byte 4 lane + j in step s holds the code of row f lanes + lane, column 4 s + j; what does not exist has code 1.
TEST(Pack, PutsEveryCodeWhereTheLayoutSays) {
  for (const Shape& s : kShapes) {
    const std::vector<int8_t> trits = random_trits(s);
    std::vector<uint8_t> panel(panel_bytes(s.layout, s.cols));
    pack_panel(s.layout, trits.data(), s.rows, s.cols, panel.data());
    const int32_t lanes = s.layout.tile_rows / 4;
    for (size_t byte = 0; byte < panel.size(); ++byte) {
      const auto i = static_cast<int32_t>(byte);
      const int32_t col = i / (4 * lanes) * 4 + i % 4;
      for (int32_t field = 0; field < 4; ++field) {
        const int32_t row = field * lanes + i / 4 % lanes;
        const bool exists = row < s.rows && col < s.cols;
        const int expected = exists ? trits[static_cast<size_t>(row * s.cols + col)] + 1 : 1;
        ASSERT_EQ((panel[byte] >> (2 * field)) & 3, expected)
            << s.rows << " x " << s.cols << ", row " << row << ", column " << col;
      }
    }
  }
}

TEST(Pack, UnpacksWhatItPacked) {
  for (const Shape& s : kShapes) {
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
