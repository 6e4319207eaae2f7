// The products of kernels/amx_ternary.inl on emulated tile instructions, against the reference: their layouts, sums and edges are
// proved on every machine. What is left to a machine with AMX is that kernels/amx_tiles.inl encodes the instructions it names.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/pack.h"
#include "kernels/reference.h"
#include "tests/kernels/guarded.h"

namespace tern::testing {
namespace {

#include "kernels/amx_ternary.inl"

// After the operation sections of Intel's Software Developer's Manual, volume 2: LDTILECFG, TILELOADD, TILESTORED, TILEZERO,
// TDPBSUD. Tiles hold what the last load or product left, in 16 rows of 64 bytes.
struct EmulatedTiles {
  struct Tile {
    std::array<std::array<uint8_t, 64>, 16> row;
  };
  static inline bool configured = false;
  static inline std::array<Tile, 8> tiles;

  static void configure() {
    ASSERT_FALSE(configured);
    configured = true;
    tiles = {};
  }
  static void release() { configured = false; }

  template <int kTile>
  static void zero() {
    ASSERT_TRUE(configured);
    tiles.at(kTile) = {};
  }
  template <int kTile>
  static void load(const void* from, int64_t stride) {
    ASSERT_TRUE(configured);
    for (size_t row = 0; row < 16; ++row) {
      std::memcpy(tiles.at(kTile).row[row].data(),
                  static_cast<const uint8_t*>(from) + static_cast<int64_t>(row) * stride, 64);
    }
  }
  template <int kTile>
  static void store(void* to, int64_t stride) {
    ASSERT_TRUE(configured);
    for (size_t row = 0; row < 16; ++row) {
      std::memcpy(static_cast<uint8_t*>(to) + static_cast<int64_t>(row) * stride,
                  tiles.at(kTile).row[row].data(), 64);
    }
  }
  // srcdest[m][n] += src1[m][4 k + i] (signed) * src2[k][4 n + i] (unsigned), for 16 k and 4 i.
  template <int kSums, int kX, int kW>
  static void dot() {
    static_assert(kSums != kX && kSums != kW && kX != kW, "equal tiles raise #UD");
    ASSERT_TRUE(configured);
    for (size_t m = 0; m < 16; ++m) {
      std::array<int32_t, 16> sums;
      std::memcpy(sums.data(), tiles[kSums].row[m].data(), sizeof(sums));
      for (size_t k = 0; k < 16; ++k) {
        for (size_t n = 0; n < 16; ++n) {
          for (size_t i = 0; i < 4; ++i) {
            sums[n] += static_cast<int8_t>(tiles[kX].row[m][4 * k + i]) *
                       int32_t{tiles[kW].row[k][4 * n + i]};
          }
        }
      }
      std::memcpy(tiles[kSums].row[m].data(), sums.data(), sizeof(sums));
    }
  }
};

struct Case {
  int32_t rows;
  int32_t cols;
  int32_t tokens;
  int32_t rows_per_scale = 0;  // 0: one scale for all rows
  int32_t cols_per_scale = 0;  // 0: one scale for all columns
  bool extreme = false;        // all weights 1, whose codes are the largest, all activations -128
};

template <class Format>
class AmxTest : public ::testing::Test {
 protected:
  static constexpr PackedLayout kLayout = Format::kLayout;

  int uniform(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  float number() { return std::normal_distribution<float>()(random_); }

  void check(Case c) {
    SCOPED_TRACE(std::to_string(c.rows) + " x " + std::to_string(c.cols) + ", " +
                 std::to_string(c.tokens) + " tokens");
    c.rows_per_scale = c.rows_per_scale == 0 ? c.rows : c.rows_per_scale;
    c.cols_per_scale = c.cols_per_scale == 0 ? c.cols : c.cols_per_scale;
    const int32_t groups = (c.cols + c.cols_per_scale - 1) / c.cols_per_scale;
    const auto stride = static_cast<int32_t>(round_up(c.cols, kQ8ColsAlign));
    const std::vector<int8_t> trits = random_trits(c);
    Guarded<uint8_t> codes(packed_bytes(kLayout, c.rows, c.cols), 64, Place::kEnd);
    for (int32_t row = 0; row < c.rows; row += kLayout.tile_rows) {
      pack_panel(kLayout, trits.data() + size_of(row, c.cols),
                 std::min<int32_t>(kLayout.tile_rows, c.rows - row), c.cols,
                 codes.data() + packed_bytes(kLayout, row, c.cols));
    }
    Guarded<int8_t> q(size_of(c.tokens, stride), 64, Place::kEnd);
    std::vector<int32_t> sums(size_of(c.tokens, stride / kQ8SumBlock));
    for (int32_t t = 0; t < c.tokens; ++t) {
      for (int32_t col = 0; col < stride; ++col) {
        const int any = c.extreme ? -128 : uniform(-128, 127);
        const size_t at = size_of(t, stride) + static_cast<size_t>(col);
        q[at] = static_cast<int8_t>(col < c.cols ? any : 0);
        sums[at / kQ8SumBlock] += q[at];
      }
    }
    std::vector<float> scales(size_of((c.rows + c.rows_per_scale - 1) / c.rows_per_scale, groups));
    std::vector<float> token_scales(static_cast<size_t>(c.tokens));
    std::generate(scales.begin(), scales.end(), [this] { return number(); });
    std::generate(token_scales.begin(), token_scales.end(), [this] { return number(); });
    const TernaryMatrix w{codes.data(),     scales.data(),    c.rows, c.cols,
                          c.rows_per_scale, c.cols_per_scale, kLayout};
    const Q8Rows x{q.data(), token_scales.data(), sums.data(), c.tokens, c.cols, stride};
    const reference::TritMatrix truth{trits.data(), scales.data(),    c.rows,
                                      c.cols,       c.rows_per_scale, c.cols_per_scale};
    compare(w, x, truth);
  }

 private:
  static size_t size_of(int64_t rows, int64_t cols) { return static_cast<size_t>(rows * cols); }

  std::vector<int8_t> random_trits(const Case& c) {
    std::vector<int8_t> trits(size_of(c.rows, c.cols));
    for (int8_t& trit : trits) {
      trit = static_cast<int8_t>(c.extreme ? 1 : uniform(-1, 1));
      trit = kLayout.packing == Packing::kSign && trit == 0 ? int8_t{1} : trit;
    }
    return trits;
  }

  void compare(const TernaryMatrix& w, const Q8Rows& x, const reference::TritMatrix& truth) {
    const int64_t y_stride = w.rows + 3;
    Guarded<float> y(size_of(x.rows - 1, y_stride) + static_cast<size_t>(w.rows), sizeof(float),
                     Place::kEnd);
    std::fill(y.span().begin(), y.span().end(), -12345.5F);
    Guarded<uint8_t> scratch(amx::Scratch<Format>::bytes(w.cols, x.rows), 64, Place::kEnd);
    amx::matmul<EmulatedTiles, Format>(w, x, {0, w.rows}, y.data(), y_stride, scratch.data());
    for (int32_t t = 0; t < x.rows; ++t) {
      for (int32_t row = 0; row < w.rows; ++row) {
        const float expected = reference::ternary_product(truth, x, t, row);
        const float found = y[size_of(t, y_stride) + static_cast<size_t>(row)];
        ASSERT_EQ(std::memcmp(&expected, &found, sizeof(found)), 0)
            << "token " << t << ", row " << row << ": expected " << expected << ", found " << found;
      }
    }
    ASSERT_TRUE(y.intact() && scratch.intact()) << "wrote beside y or scratch";
  }

  std::mt19937 random_{20261124};
};

using Formats = ::testing::Types<amx::TwoBit, amx::Base3, amx::Sign>;
TYPED_TEST_SUITE(AmxTest, Formats);

TYPED_TEST(AmxTest, EveryShapeOfBlock) {
  for (const int32_t tokens : {1, 2, 15, 16, 17, 31, 32, 33, 47, 49, 64}) {
    this->check({.rows = 70, .cols = 200, .tokens = tokens});
  }
  for (const int32_t rows : {1, 15, 16, 17, 33, 63, 64, 65, 80, 81, 128, 129, 160}) {
    this->check({.rows = rows, .cols = 70, .tokens = 18});
  }
  for (const int32_t cols : {1, 3, 4, 5, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000}) {
    this->check({.rows = 20, .cols = cols, .tokens = 3});
  }
}

// Columns beyond one chunk, so that sums are continued; tokens beyond one block.
TYPED_TEST(AmxTest, ChunksOfColumnsAndBlocksOfTokens) {
  for (const int32_t cols : {4095, 4096, 4097, 4160, 8200}) {
    this->check({.rows = 40, .cols = cols, .tokens = 35});
  }
  this->check({.rows = 17, .cols = 64, .tokens = 513});
  this->check({.rows = 17, .cols = 4200, .tokens = 513});
}

TYPED_TEST(AmxTest, ScaleGroups) {
  for (const int32_t cols_per_scale : {64, 192, 512, 4160}) {
    for (const int32_t rows_per_scale : {0, 1, 50}) {
      this->check({.rows = 100,
                   .cols = 4300,
                   .tokens = 20,
                   .rows_per_scale = rows_per_scale,
                   .cols_per_scale = cols_per_scale});
    }
  }
}

TYPED_TEST(AmxTest, LargestSums) {
  this->check({.rows = 10, .cols = 20'000, .tokens = 2, .extreme = true});
}

}  // namespace
}  // namespace tern::testing
