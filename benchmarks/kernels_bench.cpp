// Speed of the matrix kernels on one thread: every kernel of every table that this CPU runs, on the shapes of
// BitNet-b1.58-2B-4T, beside baselines in floating point: our own F16 and F32 kernels, and Eigen.
//
// A few tokens walk through enough copies of a matrix that its weights come from memory, as in a real model; a prompt reuses one. Counters: bytes/s of weights, and operations/s (a multiplication and an addition a weight).

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "benchmarks/eigen_baseline.h"
#include "engine/base/buffer.h"
#include "kernels/cpu.h"
#include "kernels/pack.h"
#include "kernels/select.h"

namespace tern {
namespace {

constexpr size_t kColdBytes = size_t{192}
                              << 20;  // more than a last-level cache that two cores can fill

struct Shape {
  const char* what;
  int32_t rows;
  int32_t cols;
};
constexpr Shape kShapes[] = {
    {"attn_q", 2560, 2560}, {"ffn_up", 6912, 2560}, {"ffn_down", 2560, 6912}};

// Up to so many tokens a product is bound by memory.
constexpr int32_t kFewTokens = 8;

// As many copies of a matrix as it takes for each to be cold when its turn comes.
size_t copies_for(size_t bytes, int32_t tokens) {
  return tokens <= kFewTokens ? kColdBytes / bytes + 1 : 1;
}

// `copies` packed matrices of random trits (-1 and 1 only, where the packing has no zero).
AlignedBuffer random_codes(const PackedLayout& layout, const Shape& shape, size_t copies) {
  std::minstd_rand random(1);
  std::vector<int8_t> trits(static_cast<size_t>(shape.rows) * static_cast<size_t>(shape.cols));
  for (int8_t& trit : trits) {
    const auto bits = static_cast<int>(random() >> 8);
    trit = static_cast<int8_t>(layout.packing == Packing::kSign ? bits % 2 * 2 - 1 : bits % 3 - 1);
  }
  const size_t bytes = packed_bytes(layout, shape.rows, shape.cols);
  AlignedBuffer codes(bytes * copies);
  auto* out = reinterpret_cast<uint8_t*>(codes.data());
  for (int32_t row = 0; row < shape.rows; row += layout.tile_rows) {
    pack_panel(layout, &trits[static_cast<size_t>(row) * static_cast<size_t>(shape.cols)],
               std::min<int32_t>(layout.tile_rows, shape.rows - row), shape.cols,
               out + static_cast<size_t>(row / layout.tile_rows) * panel_bytes(layout, shape.cols));
  }
  for (size_t copy = 1; copy < copies; ++copy) {
    std::memcpy(out + copy * bytes, out, bytes);
  }
  return codes;
}

struct Activations {
  AlignedArray<int8_t> q;
  AlignedArray<float> scale;
  AlignedArray<int32_t> sums;
  Q8Rows view;

  Activations(const KernelTable& table, int32_t tokens, int32_t cols) {
    const auto stride = static_cast<int32_t>(round_up(cols, kQ8ColsAlign));
    const auto count = static_cast<size_t>(tokens);
    const auto width = static_cast<size_t>(stride);
    q = AlignedArray<int8_t>(count * width);
    scale = AlignedArray<float>(count);
    sums = AlignedArray<int32_t>(count * width / kQ8SumBlock);
    std::vector<float> x(static_cast<size_t>(cols));
    std::minstd_rand random(2);
    for (size_t t = 0; t < count; ++t) {
      std::generate(x.begin(), x.end(),
                    [&] { return static_cast<float>(random() % 2001) - 1000.0F; });
      table.quantize_q8(x.data(), cols, stride, &q[t * width], &scale[t],
                        &sums[t * width / kQ8SumBlock]);
    }
    view = {q.data(), scale.data(), sums.data(), tokens, cols, stride};
  }
};

void count(benchmark::State& state, size_t bytes, const Shape& shape, int32_t tokens) {
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * static_cast<int64_t>(bytes));
  state.counters["op/s"] = benchmark::Counter(2.0 * shape.rows * shape.cols * tokens,
                                              benchmark::Counter::kIsIterationInvariantRate,
                                              benchmark::Counter::kIs1000);
}

void ternary(benchmark::State& state, const KernelTable& table, TernaryKind kind,
             const Shape& shape, int32_t tokens) {
  const TernaryKernel& kernel = table.kernel(kind);
  const PackedLayout layout = kernel.layout;
  const size_t bytes = packed_bytes(layout, shape.rows, shape.cols);
  const size_t copies = copies_for(bytes, tokens);
  const AlignedBuffer codes = random_codes(layout, shape, copies);
  const Activations x(table, tokens, shape.cols);
  const float scale = 1.0F;
  std::vector<float> y(static_cast<size_t>(tokens) * static_cast<size_t>(shape.rows));
  AlignedBuffer scratch(kernel.scratch_bytes(shape.cols, tokens));
  size_t copy = 0;
  for (auto _ : state) {
    const auto* data = reinterpret_cast<const uint8_t*>(codes.data()) + copy * bytes;
    const TernaryMatrix w{data, &scale, shape.rows, shape.cols, shape.rows, shape.cols, layout};
    kernel.matmul(w, x.view, {0, shape.rows}, y.data(), shape.rows,
                  reinterpret_cast<uint8_t*>(scratch.data()));
    benchmark::DoNotOptimize(y.data());
    copy = (copy + 1) % copies;
  }
  count(state, bytes, shape, tokens);
}

void dense(benchmark::State& state, const KernelTable& table, DenseType type, const Shape& shape,
           int32_t tokens) {
  DenseMatrix w{nullptr, shape.rows, shape.cols, type};
  const size_t bytes = w.row_bytes() * static_cast<size_t>(shape.rows);
  const size_t copies = copies_for(bytes, tokens);
  AlignedBuffer data(bytes * copies);
  std::memset(data.data(), 0x11,
              data.size());  // touched, so that every page is its own; small halves
  const std::vector<float> x(static_cast<size_t>(tokens) * static_cast<size_t>(shape.cols), 1.0F);
  std::vector<float> y(static_cast<size_t>(tokens) * static_cast<size_t>(shape.rows));
  AlignedBuffer scratch(table.dense_scratch_bytes(shape.cols, tokens));
  size_t copy = 0;
  for (auto _ : state) {
    w.data = reinterpret_cast<const uint8_t*>(data.data()) + copy * bytes;
    table.dense_matmul(w, x.data(), tokens, {0, shape.rows}, y.data(), shape.rows,
                       reinterpret_cast<uint8_t*>(scratch.data()));
    benchmark::DoNotOptimize(y.data());
    copy = (copy + 1) % copies;
  }
  count(state, bytes, shape, tokens);
}

void eigen(benchmark::State& state, EigenProduct product, size_t weight_bytes, const Shape& shape,
           int32_t tokens) {
  const size_t bytes =
      weight_bytes * static_cast<size_t>(shape.rows) * static_cast<size_t>(shape.cols);
  const size_t copies = copies_for(bytes, tokens);
  AlignedBuffer data(bytes * copies);
  std::memset(data.data(), 0x11, data.size());
  const std::vector<float> x(static_cast<size_t>(tokens) * static_cast<size_t>(shape.cols), 1.0F);
  std::vector<float> y(static_cast<size_t>(tokens) * static_cast<size_t>(shape.rows));
  size_t copy = 0;
  for (auto _ : state) {
    product(data.data() + copy * bytes, shape.rows, shape.cols, x.data(), tokens, y.data());
    benchmark::DoNotOptimize(y.data());
    copy = (copy + 1) % copies;
  }
  count(state, bytes, shape, tokens);
}

std::string name_of(const char* kernel, const char* table, const Shape& shape, int32_t tokens) {
  return std::string(kernel) + "/" + table + "/" + shape.what + "/tokens:" + std::to_string(tokens);
}

template <class Body>
void add(const char* kernel, const char* table, Body body) {
  for (const int32_t tokens : {1, 8, 32, 128, 512}) {
    for (const Shape& shape : kShapes) {
      benchmark::RegisterBenchmark(name_of(kernel, table, shape, tokens).c_str(),
                                   [=](benchmark::State& state) { body(state, shape, tokens); });
    }
  }
}

void add_table(const KernelTable& table, const KernelTable* below) {
  for (int index = 0; index < kTernaryKinds; ++index) {
    const auto kind = static_cast<TernaryKind>(index);
    // What a table takes from the one below it is measured there.
    if (below != nullptr && table.kernel(kind).matmul == below->kernel(kind).matmul) {
      continue;
    }
    add(kTernaryKindNames[index], table.name,
        [&table, kind](benchmark::State& state, const Shape& shape, int32_t tokens) {
          ternary(state, table, kind, shape, tokens);
        });
  }
  if (below != nullptr && table.dense_matmul == below->dense_matmul) {
    return;
  }
  constexpr std::pair<const char*, DenseType> kDense[] = {{"f32", DenseType::kF32},
                                                          {"f16", DenseType::kF16},
                                                          {"q8_0", DenseType::kQ8_0},
                                                          {"q4_k", DenseType::kQ4_K},
                                                          {"q6_k", DenseType::kQ6_K}};
  for (const auto& [name, type] : kDense) {
    add(name, table.name,
        [&table, type = type](benchmark::State& state, const Shape& shape, int32_t tokens) {
          dense(state, table, type, shape, tokens);
        });
  }
}

void register_benchmarks() {
  const KernelTable* below = nullptr;
  const std::span<const KernelTable* const> tables = all_tables();
  for (size_t i = tables.size(); i-- > 0;) {
    if (runs_here(*tables[i])) {
      add_table(*tables[i], below);
      below = tables[i];
    }
  }
  if (eigen_runs_here()) {
    const auto add_eigen = [](const char* name, EigenProduct product, size_t weight_bytes) {
      add(name, "eigen", [=](benchmark::State& state, const Shape& shape, int32_t tokens) {
        eigen(state, product, weight_bytes, shape, tokens);
      });
    };
    add_eigen("f32", eigen_float_product, sizeof(float));
    add_eigen("f16", eigen_half_product, sizeof(Half));
  }
}

}  // namespace
}  // namespace tern

int main(int argc, char** argv) {
  benchmark::AddCustomContext("cpu", tern::cpu_name());
  tern::register_benchmarks();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 2;
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
