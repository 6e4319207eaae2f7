// Split heads: packing, products in every table, and the bound on estimates that screening relies on.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/reference.h"
#include "kernels/split_pack.h"
#include "tests/kernels/kernel_test.h"
#include "tests/support/golden_format.h"

namespace tern::testing {
namespace {

// A packed matrix and its memory.
struct Packed {
  Packed(int32_t rows, int32_t cols, Place place)
      : shape{nullptr, nullptr, nullptr, rows, cols},
        coarse(static_cast<size_t>(rows) * shape.coarse_row_bytes(), 64, place),
        fine(static_cast<size_t>(rows) * shape.fine_row_bytes(), 64, place),
        norms(static_cast<size_t>(rows), sizeof(SplitNorms), place) {
    std::fill(coarse.span().begin(), coarse.span().end(), uint8_t{0});
  }
  SplitRowBytes row(int32_t r) {
    const auto at = static_cast<size_t>(r);
    return {coarse.data() + at * shape.coarse_row_bytes(),
            fine.data() + at * shape.fine_row_bytes(), norms.data() + at};
  }
  SplitMatrix view() const {
    SplitMatrix w = shape;
    w.coarse = coarse.data();
    w.fine = fine.data();
    w.norms = norms.data();
    return w;
  }

  SplitMatrix shape;
  Guarded<uint8_t> coarse;
  Guarded<uint8_t> fine;
  Guarded<SplitNorms> norms;
};

struct Input {
  Input(const SplitMatrix& shape, Place place)
      : blocks(static_cast<size_t>(shape.blocks()), sizeof(SplitInputBlock), place),
        units(static_cast<size_t>(shape.units()), sizeof(float), place) {}
  void quantize(const std::vector<float>& x, const SplitMatrix& shape) {
    view = split_input(x.data(), shape, blocks.data(), units.data());
  }
  Guarded<SplitInputBlock> blocks;
  Guarded<float> units;
  SplitInput view;
};

enum class Fill { kRandom, kLowest, kHighest, kMixed };

class Split : public KernelTest {
 protected:
  // Q6_K rows. kLowest: all codes 0 and scales -128; kHighest: all codes 63, scales 127; kMixed: either at random.
  std::vector<uint8_t> q6_k_rows(int32_t rows, int32_t blocks, Fill fill) {
    std::vector<uint8_t> bytes(static_cast<size_t>(rows * blocks) * 210);
    for (size_t begin = 0; begin < bytes.size(); begin += 210) {
      for (size_t i = 0; i < 208; ++i) {
        const bool high = fill == Fill::kHighest || (fill == Fill::kMixed && uniform(0, 1) == 1);
        const int code = high ? 255 : 0;
        const int scale = high ? 127 : 128;
        bytes[begin + i] = static_cast<uint8_t>(fill == Fill::kRandom ? uniform(0, 255)
                                                : i < 192             ? code
                                                                      : scale);
      }
      const Half d = reference::nearest_half(fill == Fill::kRandom ? normal() * 0.01F : 1.0F);
      std::memcpy(&bytes[begin + 208], &d, sizeof(d));
    }
    return bytes;
  }

  Packed pack_q6_k(const std::vector<uint8_t>& bytes, int32_t rows, int32_t cols) {
    Packed packed(rows, cols, any_place());
    for (int32_t r = 0; r < rows; ++r) {
      EXPECT_TRUE(split_q6_k_row(
          bytes.data() + static_cast<size_t>(r) * bytes.size() / static_cast<size_t>(rows),
          packed.shape, packed.row(r)));
    }
    return packed;
  }

  // Normal values; kLowest and kHighest: all of one magnitude and sign; kMixed: of both signs.
  std::vector<float> values(int32_t n, Fill fill) {
    std::vector<float> x(static_cast<size_t>(n));
    for (float& value : x) {
      const bool low = fill == Fill::kLowest || (fill == Fill::kMixed && uniform(0, 1) == 1);
      value = fill == Fill::kRandom ? normal() : low ? -1.0F : 1.0F;
    }
    return x;
  }

  static std::vector<float> fine_part(const SplitMatrix& w, int32_t row) {
    std::vector<float> x(static_cast<size_t>(w.cols));
    for (int32_t col = 0; col < w.cols; ++col) {
      x[static_cast<size_t>(col)] = static_cast<float>(reference::split_weight(w, row, col).fine);
    }
    return x;
  }

  // An input whose q are small: below 64 in magnitude but for one column of each block, so that high is 0 and low is parallel to the
  // row's coarse part.
  static std::vector<float> low_bits_along(const SplitMatrix& w, int32_t row) {
    std::vector<float> x(static_cast<size_t>(w.cols));
    float largest = 0.0F;
    for (int32_t col = 0; col < w.cols; ++col) {
      const reference::SplitWeight weight = reference::split_weight(w, row, col);
      x[static_cast<size_t>(col)] = static_cast<float>(weight.value - weight.fine);
      largest = std::max(largest, std::fabs(x[static_cast<size_t>(col)]));
    }
    for (float& value : x) {
      value *= 63.0F / largest;
    }
    for (size_t block = 0; block < x.size(); block += kSplitBlock) {
      x[block] = 16319.0F;  // q is then x
    }
    return x;
  }

  void check(const Packed& packed, std::vector<Input>& inputs);
};

void expect_same(float expected, float found, const char* what, int32_t row) {
  ASSERT_EQ(std::memcmp(&expected, &found, sizeof(found)), 0)
      << what << " of row " << row << ": " << expected << ", found " << found;
}

// The products of a range of rows and of listed ones have the bits of the definition, and estimates keep their bound.
void Split::check(const Packed& packed, std::vector<Input>& inputs) {
  const SplitMatrix w = packed.view();
  std::vector<SplitInput> x;
  std::vector<std::vector<float>> truth;
  for (Input& input : inputs) {
    input.blocks.freeze();
    input.units.freeze();
    x.push_back(input.view);
    truth.emplace_back();
    for (int32_t row = 0; row < w.rows; ++row) {
      truth.back().push_back(reference::split_sum(w, input.view, row));
    }
  }
  const auto tokens = static_cast<int32_t>(x.size());
  const int32_t split = uniform(0, w.rows);
  const int64_t stride = w.rows + 3;
  std::vector<int32_t> listed;
  for (int32_t row = w.rows - 1; row >= 0; --row) {
    if (uniform(0, 2) > 0) {
      listed.push_back(row);
    }
  }
  for (const KernelTable* table : tables()) {
    SCOPED_TRACE(std::string(table->name) + " " + std::to_string(w.rows) + " x " +
                 std::to_string(w.cols) + ", " + std::to_string(tokens) + " tokens, split " +
                 std::to_string(split) + "\nreplay: " + replay_command());
    constexpr float kUntouched = -12345.5F;
    Guarded<float> y(index_of(tokens - 1, stride, w.rows), sizeof(float), any_place());
    std::fill(y.span().begin(), y.span().end(), kUntouched);
    table->split.matmul(w, x.data(), tokens, {split, w.rows}, y.data(), stride);
    for (int32_t row = 0; row < split; ++row) {
      ASSERT_EQ(y[static_cast<size_t>(row)], kUntouched) << "row " << row << " is not in the range";
    }
    table->split.matmul(w, x.data(), tokens, {0, split}, y.data(), stride);
    for (int32_t t = 0; t < tokens; ++t) {
      const auto& sums = truth[static_cast<size_t>(t)];
      const float scale = x[static_cast<size_t>(t)].scale;
      for (int32_t row = 0; row < w.rows; ++row) {
        expect_same(sums[static_cast<size_t>(row)] * scale, y[index_of(t, stride, row)], "product",
                    row);
      }
    }
    std::fill(y.span().begin(), y.span().end(), kUntouched);
    table->split.screen(w, x.data(), tokens, {split, w.rows}, y.data(), stride);
    for (int32_t row = 0; row < split; ++row) {
      ASSERT_EQ(y[static_cast<size_t>(row)], kUntouched) << "row " << row << " is not in the range";
    }
    table->split.screen(w, x.data(), tokens, {0, split}, y.data(), stride);
    for (int32_t t = 0; t < tokens; ++t) {
      for (int32_t row = 0; row < w.rows; ++row) {
        const float sum = truth[static_cast<size_t>(t)][static_cast<size_t>(row)];
        const double error =
            static_cast<double>(y[index_of(t, stride, row)]) - static_cast<double>(sum);
        ASSERT_LE(std::fabs(error), split_bound(w.norms[row], x[static_cast<size_t>(t)]))
            << "estimate of row " << row;
      }
    }
    const auto& sums = truth[0];
    std::fill(y.span().begin(), y.span().end(), kUntouched);
    table->split.rows(w, x[0], listed.data(), static_cast<int32_t>(listed.size()), y.data());
    for (int32_t row = 0; row < w.rows; ++row) {
      const bool wanted = std::find(listed.begin(), listed.end(), row) != listed.end();
      expect_same(wanted ? sums[static_cast<size_t>(row)] * x[0].scale : kUntouched,
                  y[static_cast<size_t>(row)], "listed product", row);
    }
    ASSERT_TRUE(y.intact()) << "wrote beside y";
  }
}

TEST_F(Split, Q6KIsRepackedWithoutLoss) {
  const GoldenFormat golden = read_golden_format("q6_k");
  const auto rows = static_cast<int32_t>(golden.rows);
  const auto cols = static_cast<int32_t>(golden.cols);
  const auto* bytes = reinterpret_cast<const uint8_t*>(golden.data.data());
  const Packed packed = pack_q6_k({bytes, bytes + golden.data.size()}, rows, cols);
  for (int32_t row = 0; row < rows; ++row) {
    for (int32_t col = 0; col < cols; ++col) {
      ASSERT_EQ(static_cast<float>(reference::split_weight(packed.view(), row, col).value),
                golden.values[index_of(row, cols, col)])
          << "row " << row << ", column " << col;
    }
  }
}

TEST_F(Split, ScalesThatAreNoNumbersAreRefused) {
  for (const Half bad : {Half{0x7C00}, Half{0xFC00}, Half{0x7E00}}) {
    std::vector<uint8_t> bytes = q6_k_rows(1, 3, Fill::kRandom);
    std::memcpy(&bytes[210 + 208], &bad, sizeof(bad));
    Packed packed(1, 768, Place::kEnd);
    EXPECT_FALSE(split_q6_k_row(bytes.data(), packed.shape, packed.row(0)));
  }
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity(), -2e8F}) {
    std::vector<float> weights = values(300, Fill::kRandom);
    weights[299] = bad;
    Packed packed(1, 300, Place::kEnd);
    EXPECT_FALSE(split_float_row(weights.data(), packed.shape, packed.row(0)));
  }
}

// Codes are the nearest to each weight that the row's own scales allow, and errors as small as 6 bits promise: a step is at most
// a 31st of the group's largest weight, plus what 8 bits of scale lose.
TEST_F(Split, FloatsAreQuantisedToTheNearestCode) {
  for (const int32_t cols : {1, 16, 64, 255, 256, 257, 700, 2560}) {
    std::vector<float> weights = values(cols, Fill::kRandom);
    weights[0] = std::copysign(0.5F, weights[0]) + weights[0];  // below 1e-3 a half loses precision
    if (cols > 64) {
      std::fill(weights.begin() + 16, weights.begin() + 32, 0.0F);
      weights[40] = 300.0F;
    }
    Packed packed(1, cols, any_place());
    ASSERT_TRUE(split_float_row(weights.data(), packed.shape, packed.row(0)));
    double error = 0.0;
    double energy = 0.0;
    for (int32_t col = 0; col < packed.shape.blocks() * kSplitBlock; ++col) {
      const double value = reference::split_weight(packed.view(), 0, col).value;
      const double wanted =
          col < cols ? static_cast<double>(weights[static_cast<size_t>(col)]) : 0.0;
      if (col >= cols || wanted == 0.0) {
        ASSERT_EQ(value, 0.0) << "column " << col;
        continue;
      }
      error += (value - wanted) * (value - wanted);
      energy += wanted * wanted;
    }
    // Uniform errors of a step: step^2 / 12 each; the largest of 16 normal values is about 1.8 sigma.
    ASSERT_LT(error, 0.001 * energy) << cols << " columns";
  }
}

TEST_F(Split, InputsAreRoundedToTheNearestEven) {
  const SplitMatrix shape{nullptr, nullptr, nullptr, 1, 259};
  std::vector<float> x(259, 0.0F);
  x[0] = 16319.0F;  // so that q is x
  x[1] = 0.5F;
  x[2] = 1.5F;
  x[3] = -2.5F;
  x[100] = -16319.0F;
  x[101] = 127.6F;
  x[102] = -128.0F;
  x[258] = 1000.0F;
  Input input(shape, Place::kEnd);
  input.quantize(x, shape);
  EXPECT_EQ(input.view.scale, 1.0F);
  const std::pair<int32_t, int32_t> expected[] = {
      {0, 16319}, {1, 0},      {2, 2},       {3, -2},  {4, 0},  {100, -16319},
      {101, 128}, {102, -128}, {258, 16000}, {259, 0}, {511, 0}};
  for (const auto& [col, q] : expected) {
    EXPECT_EQ(reference::split_input_at(input.view, col), q) << "column " << col;
  }
  EXPECT_EQ(input.blocks[0].offset[0], -32 * 16319);
  // 1000 fits 16319 after 4 doublings.
  EXPECT_EQ(input.units[0], 1.0F);
  EXPECT_EQ(input.units[1], 0.0625F);
  EXPECT_EQ(input.blocks[1].offset[0], -32 * 16000);
  // 16319 = 128 * 127 + 63, 16000 = 128 * 125, and -7.625 * 125 = -953.1 in two halves.
  EXPECT_EQ(input.blocks[0].high[0][0], 127);
  EXPECT_EQ(input.blocks[0].low[0][0], 63);
  EXPECT_EQ(input.blocks[1].high[0][2], 125);
  EXPECT_EQ(input.blocks[1].low[0][2], 0);
  EXPECT_EQ(input.blocks[1].screen_offset[0][0], -476);
  EXPECT_EQ(input.blocks[1].screen_offset[0][1], -477);
  x[5] = std::nanf("");
  input.quantize(x, shape);
  EXPECT_EQ(reference::split_input_at(input.view, 5), 0);
  x[5] = -std::numeric_limits<float>::infinity();
  input.quantize(x, shape);
  EXPECT_FALSE(std::isfinite(input.view.scale));
}

TEST_F(Split, ProductsOfAllShapes) {
  for (const int32_t rows : {1, 2, 3, 4, 5, 7, 8, 9, 16, 33, 70}) {
    for (const int32_t blocks : {1, 2, 3, 10}) {
      const Packed packed = pack_q6_k(q6_k_rows(rows, blocks, Fill::kRandom), rows, 256 * blocks);
      std::vector<Input> inputs;
      for (int32_t t = uniform(1, 4); t > 0; --t) {
        inputs.emplace_back(packed.shape, any_place());
        inputs.back().quantize(values(packed.shape.cols, Fill::kRandom), packed.shape);
      }
      check(packed, inputs);
    }
  }
}

// Codes, scales and inputs at the ends of their ranges: the integers reach their bounds.
TEST_F(Split, ExtremeFills) {
  for (const Fill weights : {Fill::kLowest, Fill::kHighest, Fill::kMixed}) {
    for (const Fill x : {Fill::kLowest, Fill::kHighest, Fill::kMixed}) {
      const Packed packed = pack_q6_k(q6_k_rows(5, 3, weights), 5, 768);
      std::vector<Input> inputs;
      inputs.emplace_back(packed.shape, Place::kEnd);
      inputs[0].quantize(values(768, x), packed.shape);
      check(packed, inputs);
    }
  }
}

// Blocks that differ by 1e9, and blocks of zeros.
TEST_F(Split, BlocksOfDifferentUnits) {
  const Packed packed = pack_q6_k(q6_k_rows(9, 20, Fill::kRandom), 9, 5120);
  std::vector<Input> inputs;
  inputs.emplace_back(packed.shape, Place::kEnd);
  std::vector<float> x = values(5120, Fill::kRandom);
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t block = i / kSplitBlock;
    x[i] = block % 7 == 6 ? 0.0F : std::ldexp(x[i], -2 * static_cast<int>(block));
  }
  inputs[0].quantize(x, packed.shape);
  EXPECT_EQ(inputs[0].units[19], 0x1p-14F);
  check(packed, inputs);
}

// The products are those of the weights: within the rounding of the input to 15 bits and of float sums.
TEST_F(Split, ProductsAreThoseOfTheWeights) {
  constexpr int32_t kRows = 40;
  constexpr int32_t kCols = 2560;
  const Packed packed = pack_q6_k(q6_k_rows(kRows, kCols / 256, Fill::kRandom), kRows, kCols);
  const std::vector<float> x = values(kCols, Fill::kRandom);
  Input input(packed.shape, any_place());
  input.quantize(x, packed.shape);
  for (const KernelTable* table : tables()) {
    std::vector<float> y(kRows);
    table->split.matmul(packed.view(), &input.view, 1, {0, kRows}, y.data(), kRows);
    for (int32_t row = 0; row < kRows; ++row) {
      double exact = 0.0;
      double magnitude = 0.0;
      double weights = 0.0;
      for (int32_t col = 0; col < kCols; ++col) {
        const double w = reference::split_weight(packed.view(), row, col).value;
        exact += w * static_cast<double>(x[static_cast<size_t>(col)]);
        magnitude += std::fabs(w * static_cast<double>(x[static_cast<size_t>(col)]));
        weights += std::fabs(w);
      }
      const double tolerance =
          0.5 * static_cast<double>(input.view.scale) * weights * 1.001 + 64 * 0x1p-24 * magnitude;
      ASSERT_NEAR(y[static_cast<size_t>(row)], exact, tolerance) << table->name << ", row " << row;
    }
  }
}

// What screening relies on: no product is farther from its estimate than the bound says, and some come close, so that the bound is
// not just large: with inputs parallel to a row's fine part, and with inputs whose low bits are parallel to its coarse part.
TEST_F(Split, EstimatesKeepTheirBound) {
  constexpr int32_t kRows = 8;
  for (const int32_t blocks : {1, 2, 10}) {
    const int32_t cols = 256 * blocks;
    const Packed packed = pack_q6_k(q6_k_rows(kRows, blocks, Fill::kRandom), kRows, cols);
    const SplitMatrix w = packed.view();
    for (int32_t row = 0; row < kRows; ++row) {
      for (const bool along_fine : {true, false}) {
        const std::vector<float> x = along_fine ? fine_part(w, row) : low_bits_along(w, row);
        Input input(packed.shape, any_place());
        input.quantize(x, packed.shape);
        for (const KernelTable* table : tables()) {
          std::vector<float> y(kRows);
          table->split.screen(w, &input.view, 1, {0, kRows}, y.data(), kRows);
          for (int32_t other = 0; other < kRows; ++other) {
            const float missing =
                reference::split_sum(w, input.view, other) - y[static_cast<size_t>(other)];
            const float bound = split_bound(w.norms[other], input.view);
            ASSERT_LE(std::fabs(missing), bound) << table->name;
            if (other == row) {
              // The bound adds what both parts could miss; the second input also has its large columns in it, one a block.
              ASSERT_GT(missing, (along_fine ? 0.7F : 0.01F) * bound) << table->name;
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace tern::testing
