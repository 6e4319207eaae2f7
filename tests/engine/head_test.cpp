// Heads converted at load, and screening: what is wanted has the bits of the full product, and what is left out is smaller.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "engine/io/weight_format.h"
#include "engine/run/head.h"
#include "kernels/reference.h"
#include "kernels/select.h"

namespace tern {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

// The table that TERN_ISA names, else the best.
const KernelTable* table_under_test() {
  const char* isa = std::getenv("TERN_ISA");
  return isa == nullptr ? &best_table() : find_table(isa);
}

// A head of floats as a file would hold it.
struct FloatHead {
  FloatHead(int32_t rows, int32_t cols, const std::function<float(int32_t, int32_t)>& weight)
      : values(static_cast<size_t>(rows) * static_cast<size_t>(cols)) {
    for (int32_t r = 0; r < rows; ++r) {
      for (int32_t c = 0; c < cols; ++c) {
        values[static_cast<size_t>(r) * static_cast<size_t>(cols) + static_cast<size_t>(c)] =
            weight(r, c);
      }
    }
    tensor.name = "output.weight";
    tensor.shape = {cols, rows};
    tensor.format = find_weight_format("F32");
    tensor.data = std::as_bytes(std::span(values));
    dense = {reinterpret_cast<const uint8_t*>(values.data()), rows, cols, DenseType::kF32};
  }

  std::vector<float> values;
  Tensor tensor;
  DenseMatrix dense;
};

class Head : public ::testing::Test {
 protected:
  void SetUp() override {
    if (table_under_test() == nullptr) {
      GTEST_SKIP() << "this CPU cannot run the table";
    }
    compute_.kernels = table_under_test();
    compute_.threads = 2;
  }

  float normal() { return std::normal_distribution<float>()(random_); }
  std::vector<float> normals(int64_t count) {
    std::vector<float> x(static_cast<size_t>(count));
    std::generate(x.begin(), x.end(), [this] { return normal(); });
    return x;
  }

  std::vector<float> logits(HeadWorkspace& workspace, const Linear& head,
                            const std::vector<float>& x, const LogitsWanted& wanted) {
    const auto tokens = static_cast<int32_t>(x.size() / static_cast<size_t>(head.cols()));
    std::vector<float> y(static_cast<size_t>(tokens) * static_cast<size_t>(head.rows()), -1.0F);
    workspace.multiply(compute_, head, x.data(), tokens, wanted, scratch_, y.data());
    return y;
  }

  // Screens each input for each number of largest logits and compares with the full product. Returns what the screens did.
  HeadStats expect_exact(const FloatHead& weights, const std::vector<float>& x) {
    Result<SplitHead> split = split_head(weights.tensor, weights.dense, *compute_.kernels, 2);
    EXPECT_TRUE(split.has_value());
    const Linear head{split->matrix, nullptr, split->scale};
    const std::vector<int32_t> always = {0, head.rows() / 2, head.rows() - 1};
    HeadWorkspace full(head, 2);
    const std::vector<float> truth = logits(full, head, x, {});
    HeadStats sum;
    for (const int32_t largest : {1, 2, 40}) {
      HeadWorkspace workspace(head, 2);
      const std::vector<float> found = logits(workspace, head, x, {largest, always});
      EXPECT_EQ(workspace.stats().screened, workspace.stats().positions);
      sum.rows += workspace.stats().rows;
      sum.full_rows += workspace.stats().full_rows;
      for (size_t begin = 0; begin < truth.size(); begin += static_cast<size_t>(head.rows())) {
        const std::span<const float> all =
            std::span(truth).subspan(begin, static_cast<size_t>(head.rows()));
        const std::span<const float> some =
            std::span(found).subspan(begin, static_cast<size_t>(head.rows()));
        expect_same_choice(all, some, largest, always);
      }
    }
    return sum;
  }

  static void expect_same_choice(std::span<const float> all, std::span<const float> some,
                                 int32_t largest, const std::vector<int32_t>& always) {
    std::vector<float> sorted(all.begin(), all.end());
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    const float least = sorted[static_cast<size_t>(largest) - 1];
    for (size_t row = 0; row < all.size(); ++row) {
      const bool wanted =
          all[row] >= least || std::find(always.begin(), always.end(), row) != always.end();
      if (wanted || some[row] != kLowest) {
        ASSERT_EQ(std::memcmp(&all[row], &some[row], sizeof(float)), 0)
            << "row " << row << ": " << all[row] << ", found " << some[row];
      }
    }
  }

  Compute compute_;
  ThreadScratch scratch_{2, 0};
  std::mt19937 random_{7};
};

TEST_F(Head, ScreensRandomRows) {
  const FloatHead weights(3001, 512, [this](int32_t, int32_t) { return normal() * 0.02F; });
  const HeadStats stats = expect_exact(weights, normals(512 * 3));
  EXPECT_LT(stats.full_rows, stats.rows);
}

// Inputs along a row, as the hidden state of a sure model is: almost nothing but that row is read.
TEST_F(Head, ReadsLittleWhereOneRowStandsOut) {
  const FloatHead weights(4000, 768, [this](int32_t, int32_t) { return normal() * 0.02F; });
  std::vector<float> x(weights.values.begin() + 768 * 1234, weights.values.begin() + 768 * 1235);
  Result<SplitHead> split = split_head(weights.tensor, weights.dense, *compute_.kernels, 2);
  ASSERT_TRUE(split.has_value());
  const Linear head{split->matrix, nullptr, split->scale};
  HeadWorkspace workspace(head, 2);
  const std::vector<float> y = logits(workspace, head, x, {1, {}});
  EXPECT_EQ(std::max_element(y.begin(), y.end()) - y.begin(), 1234);
  EXPECT_EQ(workspace.stats().full_rows, 1);
  expect_exact(weights, x);
}

// Nothing can be left out, and all are tied.
TEST_F(Head, AllRowsEqual) {
  const std::vector<float> row = normals(300);
  const FloatHead weights(500, 300,
                          [&](int32_t, int32_t c) { return row[static_cast<size_t>(c)]; });
  const HeadStats stats = expect_exact(weights, normals(300));
  EXPECT_EQ(stats.full_rows, stats.rows);
}

TEST_F(Head, PairsOfEqualRows) {
  const std::vector<float> rows = normals(300 * 256);
  const FloatHead weights(
      600, 256, [&](int32_t r, int32_t c) { return rows[static_cast<size_t>(r / 2 * 256 + c)]; });
  expect_exact(weights, normals(256 * 2));
}

// Rows of the same coarse codes, whose estimates are equal: a scale of 1 in the first column of each group, the same upper bits in the others, and
// lower bits that only the fine plane has.
TEST_F(Head, FinePartsDecide) {
  const FloatHead weights(2000, 256, [this](int32_t, int32_t c) {
    return c % 16 == 0 ? -32.0F : static_cast<float>(4 * (c % 5) + static_cast<int>(random_() % 4));
  });
  expect_exact(weights, normals(256 * 3));
  expect_exact(weights, std::vector<float>(256, 1.0F));
  expect_exact(weights, std::vector<float>(256, -1.0F));
}

TEST_F(Head, OutliersAndZeros) {
  const FloatHead outliers(1500, 512, [this](int32_t r, int32_t c) {
    return (r % 97 == 3 && c % 31 == 0 ? 1000.0F : 1.0F) * normal() * (r % 5 == 0 ? 0.0F : 1e-4F);
  });
  std::vector<float> x = normals(512 * 2);
  x[17] = 5000.0F;
  x[512 + 18] = -1e-20F;
  expect_exact(outliers, x);
  expect_exact(outliers, std::vector<float>(512, 0.0F));
  const FloatHead zeros(200, 512, [](int32_t, int32_t) { return 0.0F; });
  expect_exact(zeros, x);
  const FloatHead negative(400, 256,
                           [](int32_t r, int32_t) { return -1.0F - static_cast<float>(r); });
  expect_exact(negative, std::vector<float>(256, 1.0F));
}

// Inputs without a finite scale, and wishes for more rows than screening takes, get the full product.
TEST_F(Head, FallsBackToTheFullProduct) {
  const FloatHead weights(300, 256, [this](int32_t, int32_t) { return normal(); });
  Result<SplitHead> split = split_head(weights.tensor, weights.dense, *compute_.kernels, 2);
  ASSERT_TRUE(split.has_value());
  const Linear head{split->matrix, nullptr, split->scale};
  HeadWorkspace workspace(head, 2);
  std::vector<float> x = normals(256);
  for (const int32_t largest : {0, 300, 257}) {
    const std::vector<float> y = logits(workspace, head, x, {largest, {}});
    EXPECT_EQ(std::count(y.begin(), y.end(), kLowest), 0);
  }
  x[3] = std::numeric_limits<float>::infinity();
  logits(workspace, head, x, {1, {}});
  EXPECT_EQ(workspace.stats().screened, 0);
  EXPECT_EQ(workspace.stats().positions, 4);
}

// After a position that had to read most rows, screening rests; the logits are the same.
TEST_F(Head, RestsWhereScreeningDoesNotPay) {
  const std::vector<float> row = normals(256);
  const FloatHead weights(500, 256,
                          [&](int32_t, int32_t c) { return row[static_cast<size_t>(c)]; });
  Result<SplitHead> split = split_head(weights.tensor, weights.dense, *compute_.kernels, 2);
  ASSERT_TRUE(split.has_value());
  const Linear head{split->matrix, nullptr, split->scale};
  HeadWorkspace workspace(head, 2);
  const std::vector<float> x = normals(256);
  const std::vector<float> first = logits(workspace, head, x, {1, {}});
  for (int position = 1; position < 100; ++position) {
    ASSERT_EQ(logits(workspace, head, x, {1, {}}), first);
  }
  EXPECT_GE(workspace.stats().screened, 2);  // it was tried again
  EXPECT_LE(workspace.stats().screened, 5);
}

// The conversions: a head of each type gives the products of the weights within what its bits allow.
TEST_F(Head, ConvertedHeadsKeepTheirProducts) {
  constexpr int32_t kRows = 100;
  constexpr int32_t kCols = 512;
  const FloatHead weights(kRows, kCols, [this](int32_t, int32_t) { return normal() * 0.03F; });
  const std::vector<float> x = normals(kCols);
  const auto error = [&](const Linear& head) {
    HeadWorkspace workspace(head, 2);
    ThreadScratch scratch(2, linear_scratch_bytes(*compute_.kernels, head, 1));
    std::vector<float> y(kRows);
    workspace.multiply(compute_, head, x.data(), 1, {}, scratch, y.data());
    double squares = 0.0;
    double energy = 0.0;
    for (int32_t r = 0; r < kRows; ++r) {
      const double exact = reference::dense_product(weights.dense, x.data(), r).value;
      squares += std::pow(static_cast<double>(y[static_cast<size_t>(r)]) - exact, 2);
      energy += exact * exact;
    }
    return std::sqrt(squares / energy);
  };
  Result<SplitHead> split = split_head(weights.tensor, weights.dense, *compute_.kernels, 2);
  Result<DenseHead> f16 =
      convert_head(weights.tensor, weights.dense, DenseType::kF16, *compute_.kernels, 2);
  Result<DenseHead> q8 =
      convert_head(weights.tensor, weights.dense, DenseType::kQ8_0, *compute_.kernels, 2);
  ASSERT_TRUE(split.has_value() && f16.has_value() && q8.has_value());
  // A step is about 1/8 sigma with 6 bits (16 weights a scale), 1/48 sigma with 8 (32 weights); errors are step / sqrt(12).
  EXPECT_LT(error({split->matrix, nullptr, split->scale}), 0.03);
  EXPECT_LT(error({q8->matrix, nullptr, 1.0F}), 0.01);
  EXPECT_LT(error({f16->matrix, nullptr, 1.0F}), 0.0005);
}

TEST_F(Head, BadWeightsAreRefused) {
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    const FloatHead weights(40, 256,
                            [&](int32_t r, int32_t c) { return r == 39 && c == 255 ? bad : 1.0F; });
    const Result<SplitHead> split = split_head(weights.tensor, weights.dense, *compute_.kernels, 2);
    ASSERT_FALSE(split.has_value());
    EXPECT_NE(split.error().message.find("output.weight"), std::string::npos);
  }
}

TEST(HeadType, IsChosenBySizeAndType) {
  Tensor tensor;
  tensor.name = "output.weight";
  const std::vector<std::byte> small(1000);
  const std::vector<std::byte> large(17 << 20);
  const auto choose = [&](HeadType wanted, const char* format, const std::vector<std::byte>& data) {
    tensor.format = find_weight_format(format);
    tensor.data = data;
    return choose_head_type(wanted, tensor);
  };
  for (const char* rounded : {"F32", "F16", "BF16", "Q8_0"}) {
    EXPECT_EQ(choose(HeadType::kAuto, rounded, large).value(), HeadType::kKeep) << rounded;
    EXPECT_EQ(choose(HeadType::kQ6K, rounded, large).value(), HeadType::kQ6K) << rounded;
  }
  EXPECT_EQ(choose(HeadType::kAuto, "Q6_K", large).value(), HeadType::kQ6K);
  EXPECT_EQ(choose(HeadType::kAuto, "F16", small).value(), HeadType::kKeep);
  EXPECT_EQ(choose(HeadType::kAuto, "Q4_K", large).value(), HeadType::kKeep);
  EXPECT_EQ(choose(HeadType::kAuto, "TQ2_0", large).value(), HeadType::kKeep);
  EXPECT_EQ(choose(HeadType::kF16, "F16", small).value(), HeadType::kKeep);
  EXPECT_EQ(choose(HeadType::kF16, "Q6_K", small).value(), HeadType::kF16);
  EXPECT_EQ(choose(HeadType::kQ6K, "F16", small).value(), HeadType::kQ6K);
  EXPECT_FALSE(choose(HeadType::kQ8_0, "TQ2_0", large).has_value());
}

}  // namespace
}  // namespace tern
