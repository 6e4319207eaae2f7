#include "kernels/self_test.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>

#include "kernels/pack.h"
#include "kernels/reference.h"
#include "kernels/select.h"

namespace tern {
namespace {

// Memory as kernels ask for it, aligned to a cache line.
class Aligned {
 public:
  explicit Aligned(size_t bytes) : storage_(bytes + 64) {}
  uint8_t* data() {
    const auto address = reinterpret_cast<uintptr_t>(storage_.data());
    return storage_.data() + (64 - address % 64) % 64;
  }

 private:
  std::vector<uint8_t> storage_;
};

enum class Fill { kRandom, kLow, kHigh, kAlternating };

constexpr size_t count_of(int64_t rows, int64_t cols) {
  return static_cast<size_t>(rows * cols);
}

class TableTest {
 public:
  explicit TableTest(const KernelTable& table) : table_(table) { result_.table = table.name; }

  SelfTestResult run() {
    for (const Fill fill : {Fill::kRandom, Fill::kLow, Fill::kHigh, Fill::kAlternating}) {
      for (int kind = 0; kind < kTernaryKinds; ++kind) {
        ternary(static_cast<TernaryKind>(kind), fill, 70, 1000, 1, 1000);
        ternary(static_cast<TernaryKind>(kind), fill, 33, 333, 5, 333);
        ternary(static_cast<TernaryKind>(kind), fill, 64, 512, 3, 128);
      }
    }
    for (int type = 0; type < kDenseTypeCount; ++type) {
      dense(static_cast<DenseType>(type));
    }
    quantize();
    floats();
    attention();
    result_.passed = result_.failure.empty();
    return result_;
  }

 private:
  void expect(bool good, const std::string& what, double expected, double found) {
    ++result_.checks;
    if (!good && result_.failure.empty()) {
      result_.failure =
          what + ": expected " + std::to_string(expected) + ", found " + std::to_string(found);
    }
  }
  void expect_same(const std::string& what, float expected, float found) {
    expect(std::memcmp(&expected, &found, sizeof(found)) == 0, what, static_cast<double>(expected),
           static_cast<double>(found));
  }
  void expect_near(const std::string& what, double expected, float found, double tolerance) {
    expect(std::fabs(expected - static_cast<double>(found)) <= tolerance, what, expected,
           static_cast<double>(found));
  }

  float number() { return static_cast<float>(static_cast<int>(random_() % 4001) - 2000) / 500.0F; }
  std::vector<float> numbers(int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    std::generate(values.begin(), values.end(), [this] { return number(); });
    return values;
  }
  // A value from low to high, or as the fill says.
  int filled(Fill fill, size_t i, int low, int high) {
    switch (fill) {
      case Fill::kLow:
        return low;
      case Fill::kHigh:
        return high;
      case Fill::kAlternating:
        return i % 2 == 0 ? low : high;
      case Fill::kRandom:
        break;
    }
    return low + static_cast<int>(random_() % static_cast<uint32_t>(high - low + 1));
  }

  void ternary(TernaryKind kind, Fill fill, int32_t rows, int32_t cols, int32_t tokens,
               int32_t group);
  void dense(DenseType type);
  void quantize();
  void floats();
  void attention();

  const KernelTable& table_;
  SelfTestResult result_;
  std::mt19937 random_{20260101};
};

void TableTest::ternary(TernaryKind kind, Fill fill, int32_t rows, int32_t cols, int32_t tokens,
                        int32_t group) {
  const TernaryKernel& kernel = table_.kernel(kind);
  const PackedLayout layout = kernel.layout;
  std::vector<int8_t> trits(count_of(rows, cols));
  for (size_t i = 0; i < trits.size(); ++i) {
    trits[i] = static_cast<int8_t>(filled(fill, i, -1, 1));
    if (kind == TernaryKind::kSign && trits[i] == 0) {
      trits[i] = 1;
    }
  }
  Aligned codes(packed_bytes(layout, rows, cols));
  for (int32_t row = 0; row < rows; row += layout.tile_rows) {
    pack_panel(layout, trits.data() + count_of(row, cols),
               std::min<int32_t>(layout.tile_rows, rows - row), cols,
               codes.data() + packed_bytes(layout, row, cols));
  }
  const auto stride = static_cast<int32_t>(round_up(cols, kQ8ColsAlign));
  Aligned q(count_of(tokens, stride));
  std::vector<int32_t> sums(count_of(tokens, stride / kQ8SumBlock));
  for (int32_t t = 0; t < tokens; ++t) {
    for (int32_t col = 0; col < cols; ++col) {
      const auto at = count_of(t, stride) + static_cast<size_t>(col);
      const auto value = static_cast<int8_t>(filled(fill, at, -128, 127));
      q.data()[at] = static_cast<uint8_t>(value);
      sums[at / kQ8SumBlock] += value;
    }
  }
  const std::vector<float> scales = numbers(int64_t{rows} * ((cols + group - 1) / group));
  const std::vector<float> token_scales = numbers(tokens);
  std::vector<float> y(count_of(tokens, rows));
  Aligned scratch(kernel.scratch_bytes(cols, tokens));
  const TernaryMatrix w{codes.data(), scales.data(), rows, cols, 1, group, layout};
  const Q8Rows x{
      reinterpret_cast<int8_t*>(q.data()), token_scales.data(), sums.data(), tokens, cols, stride};
  kernel.matmul(w, x, {0, rows}, y.data(), rows, scratch.data());
  const reference::TritMatrix truth{trits.data(), scales.data(), rows, cols, 1, group};
  const std::string what = std::string(kTernaryKindNames[static_cast<int>(kind)]) + " " +
                           std::to_string(rows) + " x " + std::to_string(cols) + ", " +
                           std::to_string(tokens) + " tokens";
  for (int32_t t = 0; t < tokens; ++t) {
    for (int32_t row = 0; row < rows; ++row) {
      expect_same(what, reference::ternary_product(truth, x, t, row),
                  y[count_of(t, rows) + static_cast<size_t>(row)]);
    }
  }
}

// Of a block: where a half or float ends, or a power of two stands.
std::vector<size_t> last_bytes_of_exponents(DenseType type) {
  switch (type) {
    case DenseType::kF32:
      return {3};
    case DenseType::kQ4_1:
    case DenseType::kQ5_1:
    case DenseType::kQ4_K:
    case DenseType::kQ5_K:
      return {1, 3};
    case DenseType::kQ2_K:
      return {81, 83};
    case DenseType::kQ3_K:
      return {109};
    case DenseType::kQ6_K:
      return {209};
    case DenseType::kMXFP4:
      return {0};
    default:
      return {1};
  }
}

// Random bytes whose scales are ordinary numbers: a bit of each exponent is cleared.
std::vector<uint8_t> dense_bytes(DenseType type, size_t size, std::mt19937& random) {
  std::vector<uint8_t> bytes(size);
  for (uint8_t& byte : bytes) {
    byte = static_cast<uint8_t>(random());
  }
  const auto block = static_cast<size_t>(dense_type_info(type).block_bytes);
  for (size_t begin = 0; begin < size; begin += block) {
    for (const size_t last : last_bytes_of_exponents(type)) {
      bytes[begin + last] &= 0xBF;
    }
  }
  return bytes;
}

void TableTest::dense(DenseType type) {
  constexpr int32_t kRows = 9;
  constexpr int32_t kCols = 768;
  constexpr int32_t kTokens = 4;
  DenseMatrix w{nullptr, kRows, kCols, type};
  const std::vector<uint8_t> bytes = dense_bytes(type, w.row_bytes() * kRows, random_);
  w.data = bytes.data();
  const std::string name = kDenseTypeNames[static_cast<int>(type)];
  std::vector<float> row(kCols);
  for (int32_t r = 0; r < kRows; ++r) {
    table_.dense_row(w, r, row.data());
    for (int32_t col = 0; col < kCols; ++col) {
      const auto exact = static_cast<float>(reference::dense_weight(w, r, col));
      expect_same(name + " row", exact, row[static_cast<size_t>(col)]);
    }
  }
  const std::vector<float> x = numbers(kTokens * kCols);
  Aligned scratch(table_.dense_scratch_bytes(kCols, kTokens));
  for (const int32_t tokens : {1, kTokens}) {
    std::vector<float> y(count_of(tokens, kRows));
    table_.dense_matmul(w, x.data(), tokens, {0, kRows}, y.data(), kRows, scratch.data());
    for (int32_t t = 0; t < tokens; ++t) {
      for (int32_t r = 0; r < kRows; ++r) {
        const reference::DenseProduct exact =
            reference::dense_product(w, x.data() + count_of(t, kCols), r);
        // Each term passes through at most kCols additions, each off by 2^-24.
        expect_near(name + " product", exact.value, y[count_of(t, kRows) + static_cast<size_t>(r)],
                    exact.magnitude * kCols * 0x1p-24);
      }
    }
  }
}

void TableTest::quantize() {
  for (const int32_t n : {1, 63, 300, 2560}) {
    const std::vector<float> x = numbers(n);
    const auto stride = static_cast<int32_t>(round_up(n, kQ8ColsAlign));
    std::vector<int8_t> q(static_cast<size_t>(stride), 1);
    std::vector<int32_t> sums(static_cast<size_t>(stride / kQ8SumBlock), 1);
    float scale = 0.0F;
    table_.quantize_q8(x.data(), n, stride, q.data(), &scale, sums.data());
    const reference::Q8Row truth = reference::quantize_q8(x.data(), n, stride);
    expect_same("quantize_q8 scale", truth.scale, scale);
    for (size_t i = 0; i < q.size(); ++i) {
      expect(q[i] == truth.q[i], "quantize_q8", truth.q[i], q[i]);
    }
    for (size_t i = 0; i < sums.size(); ++i) {
      expect(sums[i] == truth.sums[i], "quantize_q8 sum", truth.sums[i], sums[i]);
    }
  }
}

void TableTest::floats() {
  constexpr int32_t kCount = 333;
  constexpr double kRelative = 1e-5;  // far above rounding, far below any mistake
  const std::vector<float> x = numbers(kCount);
  const std::vector<float> y = numbers(kCount);
  const auto compare = [&](const char* what, const std::vector<double>& truth,
                           const std::vector<float>& found) {
    for (size_t i = 0; i < found.size(); ++i) {
      expect_near(what, truth[i], found[i], kRelative * (1.0 + std::fabs(truth[i])));
    }
  };
  std::vector<float> out(kCount);
  table_.rms_norm(x.data(), y.data(), kCount, 1e-5F, out.data());
  compare("rms_norm", reference::rms_norm(x.data(), y.data(), kCount, 1e-5F), out);
  out = x;
  table_.silu_mul(out.data(), y.data(), kCount);
  compare("silu_mul", reference::silu_mul(x.data(), y.data(), kCount), out);
  out = x;
  table_.relu2_mul(out.data(), y.data(), kCount);
  compare("relu2_mul", reference::relu2_mul(x.data(), y.data(), kCount), out);
  out = x;
  table_.gelu_mul(out.data(), y.data(), kCount);
  compare("gelu_mul", reference::gelu_mul(x.data(), y.data(), kCount), out);
  out = x;
  table_.add(out.data(), y.data(), kCount);
  for (size_t i = 0; i < out.size(); ++i) {
    expect_same("add", x[i] + y[i], out[i]);
  }
  for (const bool rotate_half : {false, true}) {
    constexpr int32_t kDims = 80;
    out.assign(x.begin(), x.begin() + kDims);
    table_.rope(out.data(), y.data(), y.data() + kDims, kDims, rotate_half);
    compare("rope", reference::rope(x.data(), y.data(), y.data() + kDims, kDims, rotate_half), out);
  }
}

void TableTest::attention() {
  constexpr int32_t kDims = 80;
  constexpr int32_t kCount = 150;  // three blocks
  constexpr int32_t kHeads = 3;
  constexpr int32_t kWindow = 117;     // begins within the first block
  constexpr double kTolerance = 1e-4;  // far above rounding, far below any mistake
  const std::vector<float> numbers_to_halve = numbers(1000);
  std::vector<Half> halves(numbers_to_halve.size());
  table_.to_half(numbers_to_halve.data(), 1000, halves.data());
  for (size_t i = 0; i < halves.size(); ++i) {
    const Half truth = reference::nearest_half(numbers_to_halve[i]);
    expect(halves[i] == truth, "to_half", truth, halves[i]);
  }
  for (const KvType type : {KvType::kF16, KvType::kQ8_0}) {
    const KvLayout layout{type, kDims};
    Aligned blocks(static_cast<size_t>(KvLayout::blocks(kCount)) * layout.block_bytes());
    std::vector<std::vector<double>> keys;
    std::vector<std::vector<double>> values;
    for (int32_t p = 0; p < kCount; ++p) {
      const std::vector<float> k = numbers(kDims);
      const std::vector<float> v = numbers(kDims);
      store_kv(table_.to_half, layout, p, k.data(), v.data(), blocks.data());
      keys.push_back(reference::kv_row(type, k.data(), kDims));
      values.push_back(reference::kv_row(type, v.data(), kDims));
    }
    const std::vector<float> q = numbers(kHeads * kDims);
    const AttentionQueries queries{q.data(), 0, 1, kHeads, kCount - 1, 0.03F, kWindow};
    const auto stride = static_cast<size_t>(attention_state_floats(layout));
    std::vector<float> states(kHeads * stride);
    Aligned scratch(attention_scratch_bytes(layout, kHeads));
    table_.attention(queries, layout, blocks.data(), 0, kCount, states.data(), scratch.data());
    for (size_t head = 0; head < kHeads; ++head) {
      const std::vector<double> truth = reference::attention(
          q.data() + head * kDims, keys, values, {kCount - kWindow, kCount}, double{0.03F});
      const AttentionState state = attention_state(states.data() + head * stride);
      for (size_t d = 0; d < truth.size(); ++d) {
        expect_near("attention", truth[d], state.out[d] / *state.sum, kTolerance);
      }
    }
  }
}

}  // namespace

std::vector<SelfTestResult> run_self_test() {
  std::vector<SelfTestResult> results;
  for (const KernelTable* table : all_tables()) {
    if (runs_here(*table)) {
      results.push_back(TableTest(*table).run());
    }
  }
  return results;
}

}  // namespace tern
