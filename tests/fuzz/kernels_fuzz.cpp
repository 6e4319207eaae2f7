// Any shape, scales and fill: the ternary products of every table that runs here, of every kind, are those of the reference in
// every bit.
//
// The input: rows (two bytes, the lower first), columns (two), tokens, rows that share a scale, 64-column blocks that share a scale,
// where the rows are split in two calls, the fill of weights, the fill of activations, bits of activations; whatever follows seeds
// the random numbers. Bytes that lack are 0.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/pack.h"
#include "kernels/reference.h"
#include "kernels/select.h"

namespace tern {
namespace {

constexpr int64_t kMostProducts = 1 << 22;  // so that an input takes a moment only

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), end_(data + size) {}

  int32_t byte() { return data_ < end_ ? *data_++ : 0; }
  // 1 .. most
  int32_t count(int32_t value, int32_t most) { return 1 + value % most; }
  int32_t word() {
    const int32_t low = byte();
    return low + 256 * byte();
  }
  std::mt19937 random() {
    std::seed_seq seed(data_, end_);
    return std::mt19937(seed);
  }

 private:
  const uint8_t* data_;
  const uint8_t* end_;
};

// Bytes at a cache line, as kernels ask for them. The sanitizer watches their end.
class Lines {
 public:
  explicit Lines(size_t bytes)
      : bytes_(bytes), data_(new (std::align_val_t{64}) uint8_t[bytes]()) {}
  ~Lines() { ::operator delete[](data_, std::align_val_t{64}); }
  Lines(const Lines&) = delete;
  Lines& operator=(const Lines&) = delete;

  uint8_t* data() { return data_; }
  size_t size() const { return bytes_; }

 private:
  size_t bytes_;
  uint8_t* data_;
};

size_t index_of(int64_t row, int64_t stride, int64_t col = 0) {
  return static_cast<size_t>(row * stride + col);
}

struct Case {
  int32_t rows, cols, tokens, rows_per_scale, cols_per_scale, split, weight_fill, fill, bits;

  explicit Case(Input& in) {
    rows = in.count(in.word(), 300);
    cols = in.count(in.word(), 4200);
    const int64_t most_tokens = std::max<int64_t>(1, kMostProducts / (int64_t{rows} * cols));
    tokens = in.count(in.byte(), static_cast<int32_t>(std::min<int64_t>(most_tokens, 140)));
    rows_per_scale = in.count(in.byte(), rows);
    cols_per_scale = std::min(cols, in.count(in.byte(), 256) * kQ8SumBlock);
    split = in.byte();
    weight_fill = in.byte() % 4;
    fill = in.byte() % 4;
    bits = in.byte() % 2 == 0 ? 8 : 4;
  }
};

// 0: low, 1: high, 2: both in turn, 3: anything between them
int filled(int fill, size_t i, int low, int high, std::mt19937& random) {
  if (fill == 3) {
    return low + static_cast<int>(random() % static_cast<uint32_t>(high - low + 1));
  }
  return fill == 0 || (fill == 2 && i % 2 == 0) ? low : high;
}

struct Problem {
  Case c;
  std::vector<int8_t> trits;
  std::vector<float> scales;
  std::vector<float> token_scales;
  std::vector<int32_t> sums;
  Lines q;
  Q8Rows x;

  Problem(const Case& what, std::mt19937 random)
      : c(what),
        trits(index_of(c.rows, c.cols)),
        scales(index_of((c.rows + c.rows_per_scale - 1) / c.rows_per_scale,
                        (c.cols + c.cols_per_scale - 1) / c.cols_per_scale)),
        token_scales(index_of(c.tokens, 1)),
        sums(index_of(c.tokens, stride() / kQ8SumBlock)),
        q(index_of(c.tokens, stride())) {
    for (size_t i = 0; i < trits.size(); ++i) {
      trits[i] = static_cast<int8_t>(filled(c.weight_fill, i, -1, 1, random));
    }
    const int high = (1 << (c.bits - 1)) - 1;
    for (int32_t t = 0; t < c.tokens; ++t) {
      for (int32_t col = 0; col < c.cols; ++col) {
        const size_t at = index_of(t, stride(), col);
        const int value = filled(c.fill, at, -high - 1, high, random);
        q.data()[at] = static_cast<uint8_t>(value);
        sums[at / kQ8SumBlock] += value;
      }
    }
    std::normal_distribution<float> normal;
    std::generate(scales.begin(), scales.end(), [&] { return normal(random); });
    std::generate(token_scales.begin(), token_scales.end(), [&] { return normal(random); });
    x = {reinterpret_cast<int8_t*>(q.data()),
         token_scales.data(),
         sums.data(),
         c.tokens,
         c.cols,
         stride(),
         c.bits};
  }

  int32_t stride() const { return static_cast<int32_t>(round_up(c.cols, kQ8ColsAlign)); }

  std::vector<float> truth() const {
    const reference::TritMatrix w{trits.data(), scales.data(),    c.rows,
                                  c.cols,       c.rows_per_scale, c.cols_per_scale};
    std::vector<float> y(index_of(c.tokens, c.rows));
    for (int32_t t = 0; t < c.tokens; ++t) {
      for (int32_t row = 0; row < c.rows; ++row) {
        y[index_of(t, c.rows, row)] = reference::ternary_product(w, x, t, row);
      }
    }
    return y;
  }

  std::vector<float> product(const TernaryKernel& kernel) const {
    const PackedLayout layout = kernel.layout;
    Lines codes(packed_bytes(layout, c.rows, c.cols));
    for (int32_t row = 0; row < c.rows; row += layout.tile_rows) {
      pack_panel(layout, trits.data() + index_of(row, c.cols),
                 std::min<int32_t>(layout.tile_rows, c.rows - row), c.cols,
                 codes.data() + packed_bytes(layout, row, c.cols));
    }
    const TernaryMatrix w{codes.data(),     scales.data(),    c.rows, c.cols,
                          c.rows_per_scale, c.cols_per_scale, layout};
    Lines scratch(kernel.scratch_bytes(c.cols, c.tokens));
    std::vector<float> y(index_of(c.tokens, c.rows));
    const int32_t panels = (c.rows + layout.tile_rows - 1) / layout.tile_rows;
    const int32_t middle = std::min(c.rows, c.split % (panels + 1) * layout.tile_rows);
    kernel.matmul(w, x, {0, middle}, y.data(), c.rows, scratch.data());
    kernel.matmul(w, x, {middle, c.rows}, y.data(), c.rows, scratch.data());
    return y;
  }
};

void expect_equal(const KernelTable& table, int kind, const Case& c,
                  const std::vector<float>& truth, const std::vector<float>& found) {
  for (size_t i = 0; i < truth.size(); ++i) {
    if (std::memcmp(&truth[i], &found[i], sizeof(float)) != 0) {
      std::fprintf(stderr,
                   "%s %s: %d x %d, %d tokens, scales of %d x %d, fills %d and %d, %d bits: row "
                   "%zu of token %zu is %g, not %g\n",
                   table.name, kTernaryKindNames[kind], c.rows, c.cols, c.tokens, c.rows_per_scale,
                   c.cols_per_scale, c.weight_fill, c.fill, c.bits, i % static_cast<size_t>(c.rows),
                   i / static_cast<size_t>(c.rows), static_cast<double>(found[i]),
                   static_cast<double>(truth[i]));
      std::abort();
    }
  }
}

void compare(const Problem& p, int first_kind, int end_kind) {
  const std::vector<float> truth = p.truth();
  for (const KernelTable* table : all_tables()) {
    for (int kind = first_kind; runs_here(*table) && kind < end_kind; ++kind) {
      expect_equal(*table, kind, p.c, truth, p.product(table->ternary[kind]));
    }
  }
}

}  // namespace
}  // namespace tern

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tern;
  Input in(data, size);
  const Case c(in);
  Problem problem(c, in.random());
  constexpr int kSign = static_cast<int>(TernaryKind::kSign);
  static_assert(kSign == kTernaryKinds - 1);
  compare(problem, 0, kSign);
  std::replace(problem.trits.begin(), problem.trits.end(), int8_t{0}, int8_t{1});
  compare(problem, kSign, kTernaryKinds);
  return 0;
}
