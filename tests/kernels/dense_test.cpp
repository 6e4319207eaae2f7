// Dense weights of every type and table: decoded bit for bit, multiplied within rounding.

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>
#include <map>

#include "kernels/reference.h"
#include "tests/kernels/kernel_test.h"
#include "tests/support/golden_format.h"

namespace tern::testing {
namespace {

// Of all types, as the golden files are called.
const std::map<DenseType, std::string> kNames = [] {
  std::map<DenseType, std::string> names;
  for (int type = 0; type < kDenseTypeCount; ++type) {
    std::string name = kDenseTypeNames[type];
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return static_cast<char>(std::tolower(c)); });
    names[static_cast<DenseType>(type)] = name;
  }
  return names;
}();

// Byte offsets of a block's halves (of a float's upper half for F32): what makes random bytes huge or not a number.
std::vector<size_t> exponents_of(DenseType type) {
  switch (type) {
    case DenseType::kF32:
      return {2};
    case DenseType::kQ4_1:
    case DenseType::kQ5_1:
    case DenseType::kQ4_K:
    case DenseType::kQ5_K:
      return {0, 2};
    case DenseType::kQ2_K:
      return {80, 82};
    case DenseType::kQ3_K:
      return {108};
    case DenseType::kQ6_K:
      return {208};
    case DenseType::kMXFP4:
      return {};
    default:
      return {0};
  }
}

bool same_bits_or_nan(float a, float b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0 || (std::isnan(a) && std::isnan(b));
}

class Dense : public KernelTest {
 protected:
  // Random bytes; with `sane`, halves are below 2 in magnitude.
  Guarded<uint8_t> random_weights(DenseType type, size_t bytes, bool sane) {
    Guarded<uint8_t> data(bytes, 1, any_place());
    for (uint8_t& byte : data.span()) {
      byte = static_cast<uint8_t>(uniform(0, 255));
    }
    const auto block = static_cast<size_t>(dense_type_info(type).block_bytes);
    for (size_t begin = 0; sane && begin < bytes; begin += block) {
      for (const size_t offset : exponents_of(type)) {
        data[begin + offset + 1] &= 0xBF;
      }
      if (type == DenseType::kMXFP4) {
        data[begin] = static_cast<uint8_t>(120 + data[begin] % 8);
      }
    }
    return data;
  }

  void expect_rows_decode(const DenseMatrix& w) {
    std::vector<float> truth(index_of(w.rows, w.cols));
    for (int32_t row = 0; row < w.rows; ++row) {
      for (int32_t col = 0; col < w.cols; ++col) {
        truth[index_of(row, w.cols, col)] =
            static_cast<float>(reference::dense_weight(w, row, col));
      }
    }
    for (const KernelTable* table : tables()) {
      SCOPED_TRACE(std::string(table->name) + " " + kNames.at(w.type) + ", " +
                   std::to_string(w.cols) + " columns\nreplay: " + replay_command());
      Guarded<float> out(static_cast<size_t>(w.cols), sizeof(float), any_place());
      for (int32_t row = 0; row < w.rows; ++row) {
        table->dense_row(w, row, out.data());
        for (int32_t col = 0; col < w.cols; ++col) {
          const float expected = truth[index_of(row, w.cols, col)];
          const float found = out[static_cast<size_t>(col)];
          ASSERT_TRUE(same_bits_or_nan(expected, found))
              << "row " << row << ", column " << col << ": " << expected << ", found " << found;
        }
      }
      ASSERT_TRUE(out.intact());
    }
  }

  void check_product(DenseType type, int32_t rows, int32_t cols, int32_t tokens);
};

// The values that the gguf package's own decoder gives.
TEST_F(Dense, RowsEqualTheGoldenValues) {
  for (const auto& [type, name] : kNames) {
    const GoldenFormat golden = read_golden_format(name);
    const auto rows = static_cast<int32_t>(golden.rows);
    const auto cols = static_cast<int32_t>(golden.cols);
    const DenseMatrix w{reinterpret_cast<const uint8_t*>(golden.data.data()), rows, cols, type};
    for (const KernelTable* table : tables()) {
      std::vector<float> out(static_cast<size_t>(cols));
      for (int32_t row = 0; row < rows; ++row) {
        table->dense_row(w, row, out.data());
        for (int32_t col = 0; col < cols; ++col) {
          const float expected = golden.values[index_of(row, cols, col)];
          const float found = out[static_cast<size_t>(col)];
          ASSERT_TRUE(same_bits_or_nan(expected, found))
              << table->name << " " << name << " row " << row << " column " << col << ": "
              << expected << ", found " << found;
        }
      }
    }
  }
}

// Every half and every bfloat16: subnormal, infinite and not a number among them.
TEST_F(Dense, EverySixteenBitNumberDecodes) {
  std::vector<uint16_t> all(1 << 16);
  for (size_t i = 0; i < all.size(); ++i) {
    all[i] = static_cast<uint16_t>(i);
  }
  for (const DenseType type : {DenseType::kF16, DenseType::kBF16}) {
    expect_rows_decode({reinterpret_cast<const uint8_t*>(all.data()), 256, 256, type});
  }
}

// Blocks in which each byte takes each value, and scales take extreme ones.
TEST_F(Dense, EveryByteValueDecodes) {
  constexpr Half kScales[] = {0x3C00, 0xBC00, 0x0000, 0x8000, 0x0001, 0x03FF,
                              0x0400, 0x7BFF, 0xFBFF, 0x2E66, 0x7C00, 0x7E00};
  for (const auto& [type, name] : kNames) {
    const DenseTypeInfo info = dense_type_info(type);
    if (info.block_weights == 1) {
      continue;
    }
    const auto block = static_cast<size_t>(info.block_bytes);
    const std::vector<size_t> halves = exponents_of(type);
    Guarded<uint8_t> data(256 * block, 1, Place::kEnd);
    for (size_t b = 0; b < 256; ++b) {
      for (size_t i = 0; i < block; ++i) {
        data[b * block + i] = static_cast<uint8_t>(b + 37 * i);
      }
      for (size_t i = 0; i < halves.size(); ++i) {
        const Half scale = kScales[(b + 5 * i) % std::size(kScales)];
        std::memcpy(&data[b * block + halves[i]], &scale, sizeof(scale));
      }
    }
    expect_rows_decode({data.data(), 256, info.block_weights, type});
  }
}

TEST_F(Dense, RowsOfAnyLengthDecode) {
  for (const auto& [type, name] : kNames) {
    const int32_t block = dense_type_info(type).block_weights;
    for (const int32_t blocks : {1, 2, 3, 5, 7, 8, 9, 15, 17, 33, 100}) {
      DenseMatrix w{nullptr, 2, blocks * block, type};
      Guarded<uint8_t> data = random_weights(type, 2 * w.row_bytes(), false);
      w.data = data.data();
      expect_rows_decode(w);
    }
  }
}

// The matrix as doubles, decoded once: products of many tokens are then quick to know.
struct Exact {
  explicit Exact(const DenseMatrix& w) : cols(w.cols), values(index_of(w.rows, w.cols)) {
    for (int32_t row = 0; row < w.rows; ++row) {
      for (int32_t col = 0; col < cols; ++col) {
        values[index_of(row, cols, col)] = reference::dense_weight(w, row, col);
      }
    }
  }
  reference::DenseProduct product(const float* x, int32_t row) const {
    reference::DenseProduct sum;
    for (int32_t col = 0; col < cols; ++col) {
      const double term = values[index_of(row, cols, col)] * static_cast<double>(x[col]);
      sum.value += term;
      sum.magnitude += std::fabs(term);
    }
    return sum;
  }

  int32_t cols;
  std::vector<double> values;
};

// Tables sum lanes over chunks of columns and then the chunks: no term passes through more than 64 additions in its lane, 4
// that join lanes (16 at most), and one a chunk (of 256 columns at least); its product is rounded once, and a weight with a minimum too.
double error_bound(int32_t cols, double magnitude) {
  const double roundings = 64 + 4 + cols / 256 + 1 + 2;
  return roundings * 0x1p-24 * magnitude * 1.001 + 1e-38;
}

void Dense::check_product(DenseType type, int32_t rows, int32_t cols, int32_t tokens) {
  DenseMatrix w{nullptr, rows, cols, type};
  Guarded<uint8_t> data = random_weights(type, w.row_bytes() * static_cast<size_t>(rows), true);
  data.freeze();
  w.data = data.data();
  const Exact exact(w);
  Guarded<float> x(index_of(tokens, cols), sizeof(float), any_place());
  fill_normal(x);
  x.freeze();
  const int64_t y_stride = rows + 2;
  const int32_t split = uniform(0, rows);
  for (const KernelTable* table : tables()) {
    SCOPED_TRACE(std::string(table->name) + " " + kNames.at(type) + " " + std::to_string(rows) +
                 " x " + std::to_string(cols) + ", " + std::to_string(tokens) + " tokens, split " +
                 std::to_string(split) + "\nreplay: " + replay_command());
    Guarded<float> y(index_of(tokens - 1, y_stride, rows), sizeof(float), any_place());
    Guarded<uint8_t> scratch(table->dense_scratch_bytes(cols, tokens), 64, any_place());
    constexpr float kUntouched = -12345.5F;
    std::fill(y.span().begin(), y.span().end(), kUntouched);
    table->dense_matmul(w, x.data(), tokens, {split, rows}, y.data(), y_stride, scratch.data());
    for (int32_t row = 0; row < split; ++row) {
      ASSERT_EQ(y[index_of(0, 0, row)], kUntouched) << "row " << row << ": not in the range";
    }
    table->dense_matmul(w, x.data(), tokens, {0, split}, y.data(), y_stride, scratch.data());
    for (int32_t t = 0; t < tokens; ++t) {
      for (int32_t row = 0; row < rows; ++row) {
        const auto truth = exact.product(x.data() + index_of(t, cols), row);
        ASSERT_NEAR(y[index_of(t, y_stride, row)], truth.value, error_bound(cols, truth.magnitude))
            << "token " << t << ", row " << row;
      }
      for (int32_t row = rows; t + 1 < tokens && row < y_stride; ++row) {
        ASSERT_EQ(y[index_of(t, y_stride, row)], kUntouched) << "between rows of y";
      }
    }
    ASSERT_TRUE(y.intact() && scratch.intact()) << "wrote beside y or scratch";
  }
}

TEST_F(Dense, ProductsOfAllShapes) {
  for (const auto& [type, name] : kNames) {
    const int32_t block = dense_type_info(type).block_weights;
    for (const int32_t rows : {1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33}) {
      const int32_t blocks = block == 1 ? uniform(1, 600) : uniform(1, 800 / block);
      check_product(type, rows, blocks * block, uniform(1, 9));
    }
    for (const int32_t tokens : {1, 2, 3, 4, 5, 6, 7, 8, 17, 33}) {
      check_product(type, 9, 512, tokens);
    }
    for (const int32_t cols : {256, 512, 768, 1024, 1280, 2560, 6912}) {
      check_product(type, 5, cols, 1);
      check_product(type, 5, cols, 4);
    }
  }
}

TEST_F(Dense, ProductsOfOddRowLengths) {
  for (const DenseType type : {DenseType::kF32, DenseType::kF16, DenseType::kBF16}) {
    for (const int32_t cols : {1,  2,  3,  4,   5,   6,   7,   8,   9,   10,  15,   17,  31,
                               33, 63, 65, 127, 129, 255, 257, 511, 513, 519, 1023, 1025}) {
      check_product(type, 6, cols, 1);
      check_product(type, 6, cols, 3);
    }
  }
}

// A token's result is the same to the last bit whoever shares its batch and however rows are split: text does not depend on
// the number of threads, nor on how a prompt was cut into batches.
TEST_F(Dense, ResultsDoNotDependOnBatchOrSplit) {
  constexpr int32_t kRows = 23;
  constexpr int32_t kTokens = 8;
  for (const auto& [type, name] : kNames) {
    const int32_t cols = dense_type_info(type).block_weights == 1 ? 1237 : 1280;
    DenseMatrix w{nullptr, kRows, cols, type};
    Guarded<uint8_t> data = random_weights(type, w.row_bytes() * kRows, true);
    w.data = data.data();
    Guarded<float> x(index_of(kTokens, cols), sizeof(float), any_place());
    fill_normal(x);
    for (const KernelTable* table : tables()) {
      SCOPED_TRACE(std::string(table->name) + " " + name + "\nreplay: " + replay_command());
      Guarded<uint8_t> scratch(table->dense_scratch_bytes(cols, kTokens), 64, Place::kEnd);
      std::vector<float> together(index_of(kTokens, kRows));
      table->dense_matmul(w, x.data(), kTokens, {0, kRows}, together.data(), kRows, scratch.data());
      for (int32_t t = 0; t < kTokens; ++t) {
        std::vector<float> alone(kRows);
        const int32_t split = uniform(0, kRows);
        const float* token = x.data() + index_of(t, cols);
        table->dense_matmul(w, token, 1, {0, split}, alone.data(), kRows, scratch.data());
        table->dense_matmul(w, token, 1, {split, kRows}, alone.data(), kRows, scratch.data());
        ASSERT_EQ(std::memcmp(alone.data(), &together[index_of(t, kRows)], sizeof(float) * kRows),
                  0)
            << "token " << t << ", split " << split;
      }
    }
  }
}

}  // namespace
}  // namespace tern::testing
