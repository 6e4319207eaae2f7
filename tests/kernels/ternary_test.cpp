// Ternary products of every kernel of every table against the reference, equal in every bit.

#include <cstring>

#include "kernels/pack.h"
#include "kernels/reference.h"
#include "tests/kernels/kernel_test.h"

namespace tern::testing {
namespace {

enum class Trits { kMinus, kPlus, kAlternating, kRandom };
enum class Codes {
  kMax,
  kMin,
  kAlternating,
  kRandom
};  // of activations: 127, -128, both, any (7, -8 with four bits)

struct Case {
  int32_t rows = 0;
  int32_t cols = 0;
  int32_t tokens = 1;
  int32_t rows_per_scale = 0;  // 0: one scale for all rows
  int32_t cols_per_scale = 0;  // 0: one scale for all columns
  Trits trits = Trits::kRandom;
  Codes codes = Codes::kRandom;
  int32_t bits = 8;  // of activations

  std::string text() const {
    const auto number = [](auto value) { return std::to_string(static_cast<int>(value)); };
    return number(rows) + " x " + number(cols) + ", " + number(tokens) + " tokens, scales of " +
           number(rows_per_scale) + " x " + number(cols_per_scale) + ", trits " + number(trits) +
           ", codes " + number(codes) + " of " + number(bits) + " bits";
  }
};

// A case in memory: everything that a kernel is given, between guard pages.
struct Problem {
  Problem(const TernaryKernel& kernel, const Case& c, const std::vector<int8_t>& trits, Place place)
      : layout(kernel.layout),
        groups((c.cols + c.cols_per_scale - 1) / c.cols_per_scale),
        stride(static_cast<int32_t>(round_up(c.cols, kQ8ColsAlign))),
        codes(packed_bytes(layout, c.rows, c.cols), 64, place),
        q(index_of(c.tokens, stride), 64, place),
        token_scales(index_of(c.tokens, 1), sizeof(float), place),
        sums(index_of(c.tokens, stride / kQ8SumBlock), sizeof(int32_t), place),
        scales(index_of((c.rows + c.rows_per_scale - 1) / c.rows_per_scale, groups), sizeof(float),
               place),
        scratch(kernel.scratch_bytes(c.cols, c.tokens), 64, place) {
    for (int32_t row = 0; row < c.rows; row += layout.tile_rows) {
      pack_panel(layout, trits.data() + index_of(row, c.cols),
                 std::min<int32_t>(layout.tile_rows, c.rows - row), c.cols,
                 codes.data() + packed_bytes(layout, row, c.cols));
    }
    w = {codes.data(), scales.data(), c.rows, c.cols, c.rows_per_scale, c.cols_per_scale, layout};
    x = {q.data(), token_scales.data(), sums.data(), c.tokens, c.cols, stride, c.bits};
  }

  void freeze() {
    codes.freeze();
    q.freeze();
    token_scales.freeze();
    sums.freeze();
    scales.freeze();
  }

  PackedLayout layout;
  int32_t groups;
  int32_t stride;
  Guarded<uint8_t> codes;
  Guarded<int8_t> q;
  Guarded<float> token_scales;
  Guarded<int32_t> sums;
  Guarded<float> scales;
  Guarded<uint8_t> scratch;
  TernaryMatrix w;
  Q8Rows x;
};

class Ternary : public KernelTest {
 protected:
  int trit(Trits fill, size_t i) {
    switch (fill) {
      case Trits::kMinus:
        return -1;
      case Trits::kPlus:
        return 1;
      case Trits::kAlternating:
        return i % 2 == 0 ? -1 : 1;
      case Trits::kRandom:
        break;
    }
    return uniform(-1, 1);
  }
  int code(Codes fill, int32_t bits, size_t i) {
    const int min = -(1 << (bits - 1));
    const int max = -min - 1;
    switch (fill) {
      case Codes::kMax:
        return max;
      case Codes::kMin:
        return min;
      case Codes::kAlternating:
        return i % 2 == 0 ? max : min;
      case Codes::kRandom:
        break;
    }
    return uniform(min, max);
  }

  void check(Case c);
  void check(const KernelTable& table, TernaryKind kind, const Case& c, std::vector<int8_t> trits);
  void fill(const Case& c, Problem& p);
};

void Ternary::fill(const Case& c, Problem& p) {
  std::fill(p.q.span().begin(), p.q.span().end(), int8_t{0});
  std::fill(p.sums.span().begin(), p.sums.span().end(), 0);
  for (int32_t t = 0; t < c.tokens; ++t) {
    for (int32_t col = 0; col < c.cols; ++col) {
      const auto value = static_cast<int8_t>(code(c.codes, c.bits, index_of(t, c.cols, col)));
      p.q[index_of(t, p.stride, col)] = value;
      p.sums[index_of(t, p.stride, col) / kQ8SumBlock] += value;
    }
  }
  fill_normal(p.token_scales);
  fill_normal(p.scales);
}

// Multiplies in two pieces of rows, into rows of y that lie apart; what lies between must stay as it was.
void run_and_compare(const TernaryKernel& kernel, const Case& c, Problem& p,
                     const reference::TritMatrix& truth, int32_t split, Guarded<float>& y) {
  const int64_t y_stride = c.rows + 3;
  constexpr float kUntouched = -12345.5F;
  std::fill(y.span().begin(), y.span().end(), kUntouched);
  const int32_t second = std::min(c.rows, split * p.layout.tile_rows);
  kernel.matmul(p.w, p.x, {second, c.rows}, y.data(), y_stride, p.scratch.data());
  for (int32_t t = 0; t < c.tokens; ++t) {
    for (int32_t row = 0; row < second; ++row) {
      ASSERT_EQ(y[index_of(t, y_stride, row)], kUntouched) << "row " << row << ": not in the range";
    }
  }
  kernel.matmul(p.w, p.x, {0, second}, y.data(), y_stride, p.scratch.data());
  for (int32_t t = 0; t < c.tokens; ++t) {
    for (int32_t row = 0; row < c.rows; ++row) {
      const float expected = reference::ternary_product(truth, p.x, t, row);
      const float found = y[index_of(t, y_stride, row)];
      ASSERT_EQ(std::memcmp(&expected, &found, sizeof(found)), 0)
          << "token " << t << ", row " << row << ": expected " << expected << ", found " << found;
    }
    for (int32_t row = c.rows; t + 1 < c.tokens && row < y_stride; ++row) {
      ASSERT_EQ(y[index_of(t, y_stride, row)], kUntouched) << "between rows of y";
    }
  }
}

void Ternary::check(Case c) {
  c.rows_per_scale = c.rows_per_scale == 0 ? c.rows : c.rows_per_scale;
  c.cols_per_scale = c.cols_per_scale == 0 ? c.cols : c.cols_per_scale;
  std::vector<int8_t> trits(index_of(c.rows, c.cols));
  for (size_t i = 0; i < trits.size(); ++i) {
    trits[i] = static_cast<int8_t>(trit(c.trits, i));
  }
  for (const KernelTable* table : tables()) {
    for (int kind = 0; kind < kTernaryKinds; ++kind) {
      check(*table, static_cast<TernaryKind>(kind), c, trits);
    }
    // Bit-sliced kernels leave four planes out; the others do not ask.
    Case four = c;
    four.bits = 4;
    check(*table, TernaryKind::kBitplanes, four, trits);
    check(*table, TernaryKind::kBitplanesMasked, four, trits);
  }
}

void Ternary::check(const KernelTable& table, TernaryKind kind, const Case& c,
                    std::vector<int8_t> trits) {
  const TernaryKernel& kernel = table.kernel(kind);
  if (kind == TernaryKind::kSign) {
    std::replace(trits.begin(), trits.end(), int8_t{0}, int8_t{1});
  }
  SCOPED_TRACE(std::string(table.name) + " " + kTernaryKindNames[static_cast<int>(kind)] + ": " +
               c.text() + "\nreplay: " + replay_command());
  Problem p(kernel, c, trits, any_place());
  fill(c, p);
  p.freeze();
  const reference::TritMatrix truth{trits.data(), p.scales.data(),  c.rows,
                                    c.cols,       c.rows_per_scale, c.cols_per_scale};
  // The last row of y ends where its values end, at any float's address.
  Guarded<float> y(index_of(c.tokens - 1, c.rows + 3, c.rows), sizeof(float), any_place());
  const int32_t panels = (c.rows + p.layout.tile_rows - 1) / p.layout.tile_rows;
  run_and_compare(kernel, c, p, truth, uniform(0, panels), y);
  ASSERT_TRUE(y.intact() && p.scratch.intact()) << "wrote beside y or scratch";
}

TEST_F(Ternary, RowCounts) {
  std::vector<int32_t> counts = {31, 32, 33, 63, 64, 65, 95, 97, 127, 128, 129, 255, 257};
  for (int32_t rows = 1; rows <= 10; ++rows) {
    counts.push_back(rows);
  }
  for (const int32_t rows : counts) {
    for (const int32_t tokens : {1, 3}) {
      check({.rows = rows, .cols = 200, .tokens = tokens});
    }
  }
}

TEST_F(Ternary, ColumnCounts) {
  std::vector<int32_t> counts = {63,  64,  65,  127, 128,  129,  255,  256,
                                 257, 511, 512, 513, 1023, 1025, 2047, 2049};
  for (int32_t cols = 1; cols <= 10; ++cols) {
    counts.push_back(cols);
  }
  for (const int32_t cols : counts) {
    for (const int32_t tokens : {1, 2}) {
      check({.rows = 37, .cols = cols, .tokens = tokens});
    }
  }
}

TEST_F(Ternary, TokenCounts) {
  for (const int32_t tokens : {1,  2,  3,  4,  5,  6,  7,  8,  9,   12,  13,  16,
                               17, 24, 25, 26, 29, 31, 32, 33, 127, 128, 129, 130}) {
    check({.rows = 33, .cols = 100, .tokens = tokens});
  }
  // Three panels of every layout, the last of them not full: with few tokens two are walked at once.
  for (const int32_t tokens : {1, 2, 3, 4, 7, 25}) {
    check({.rows = 300, .cols = 70, .tokens = tokens});
  }
}

// Every accumulator at its largest, upwards and downwards, over lengths that fill each of its stages.
TEST_F(Ternary, ExtremeFills) {
  for (const Trits trits : {Trits::kMinus, Trits::kPlus, Trits::kAlternating, Trits::kRandom}) {
    for (const Codes codes : {Codes::kMax, Codes::kMin, Codes::kAlternating, Codes::kRandom}) {
      for (const int32_t cols : {64, 256, 1000, 4096}) {
        for (const int32_t tokens : {1, 3}) {
          check({.rows = 65, .cols = cols, .tokens = tokens, .trits = trits, .codes = codes});
        }
      }
    }
  }
}

TEST_F(Ternary, DeepAndNarrow) {
  for (const Codes codes : {Codes::kMin, Codes::kMax}) {
    check({.rows = 2, .cols = 100'000, .trits = Trits::kPlus, .codes = codes});
    check({.rows = 2, .cols = 100'000, .tokens = 2, .trits = Trits::kMinus, .codes = codes});
  }
  check({.rows = 4097, .cols = 4});
  check({.rows = 4097, .cols = 1, .tokens = 2});
}

// Runs of columns that end where the sums of the last row block of a byte reach -2^31 exactly (two_bit, sign: 131,072 columns of
// one prefix less another), and eight columns more.
TEST_F(Ternary, LongestRuns) {
  check({.rows = 128, .cols = 131'080, .trits = Trits::kPlus, .codes = Codes::kMin});
}

TEST_F(Ternary, RealShapes) {
  check({.rows = 72, .cols = 6912});
  check({.rows = 72, .cols = 6912, .tokens = 5});
  check({.rows = 1280, .cols = 2560});
  check({.rows = 160, .cols = 2560, .tokens = 9});
  check({.rows = 96, .cols = 2048, .tokens = 33, .rows_per_scale = 1});
}

// Column groups of 64 and more, the last of them cut short; scales of one row, some rows, all rows.
TEST_F(Ternary, ScaleGroups) {
  for (const int32_t cols_per_scale : {0, 64, 128, 192, 320, 512}) {
    for (const int32_t rows_per_scale : {0, 1, 3, 32, 50}) {
      for (const int32_t tokens : {1, 4}) {
        check({.rows = 100,
               .cols = 1000,
               .tokens = tokens,
               .rows_per_scale = rows_per_scale,
               .cols_per_scale = cols_per_scale});
      }
    }
  }
}

TEST_F(Ternary, RandomCases) {
  for (int i = 0; i < 60 && !HasFatalFailure(); ++i) {
    Case c;
    c.rows = uniform(1, 200);
    c.cols = uniform(1, 1500);
    c.tokens = uniform(1, 20);
    c.rows_per_scale = uniform(0, c.rows);
    c.cols_per_scale = uniform(0, c.cols / kQ8SumBlock) * kQ8SumBlock;
    c.trits = static_cast<Trits>(uniform(0, 3));
    c.codes = static_cast<Codes>(uniform(0, 3));
    check(c);
  }
}

TEST_F(Ternary, NoTokensTouchNothing) {
  for (const KernelTable* table : tables()) {
    for (const TernaryKernel& kernel : table->ternary) {
      const Case c{.rows = 5, .cols = 64, .tokens = 1, .rows_per_scale = 5, .cols_per_scale = 64};
      Problem p(kernel, c, std::vector<int8_t>(index_of(5, 64), 1), Place::kEnd);
      p.x.rows = 0;
      kernel.matmul(p.w, p.x, {0, 5}, nullptr, 5, p.scratch.data());
    }
  }
}

}  // namespace
}  // namespace tern::testing
