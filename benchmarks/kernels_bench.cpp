// Speed of the matrix kernels on one thread: every table this CPU runs, on the shapes of BitNet-b1.58-2B-4T.
//
// Decode (one token) walks through enough copies of a matrix that its weights come from memory, as in a real model; prefill
// reuses one. Counters: bytes/s of weights, and operations/s (a multiplication and an addition a weight).

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "engine/base/buffer.h"
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

// Random bytes that are codes 0..2 in every field.
void fill_codes(AlignedBuffer& codes) {
  std::minstd_rand random(1);
  for (std::byte& byte : std::span(codes.data(), codes.size())) {
    const auto bits = static_cast<uint32_t>(random() >> 8);
    byte = static_cast<std::byte>(bits & ~((bits >> 1) & 0x55U) & 0xFFU);  // no field is 3
  }
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

void two_bit(benchmark::State& state, const KernelTable& table, const Shape& shape,
             int32_t tokens) {
  const TernaryKernel& kernel = table.kernel(TernaryKind::kTwoBit);
  const PackedLayout layout = kernel.layout;
  const size_t bytes = packed_bytes(layout, shape.rows, shape.cols);
  const size_t copies = tokens == 1 ? kColdBytes / bytes + 1 : 1;
  AlignedBuffer codes(bytes * copies);
  fill_codes(codes);
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
  const size_t copies = tokens == 1 ? kColdBytes / bytes + 1 : 1;
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

std::string name_of(const char* kernel, const KernelTable& table, const Shape& shape,
                    int32_t tokens) {
  return std::string(kernel) + "/" + table.name + "/" + shape.what +
         "/tokens:" + std::to_string(tokens);
}

void register_benchmarks() {
  struct Dense {
    const char* name;
    DenseType type;
  };
  constexpr Dense kDense[] = {{"f16", DenseType::kF16},
                              {"q8_0", DenseType::kQ8_0},
                              {"q4_k", DenseType::kQ4_K},
                              {"q6_k", DenseType::kQ6_K}};
  for (const KernelTable* table : all_tables()) {
    if (!runs_here(*table)) {
      continue;
    }
    for (const int32_t tokens : {1, 32, 128}) {
      for (const Shape& shape : kShapes) {
        benchmark::RegisterBenchmark(
            name_of("two_bit", *table, shape, tokens).c_str(),
            [=](benchmark::State& state) { two_bit(state, *table, shape, tokens); });
      }
      for (const Dense& format : kDense) {
        const Shape& shape = kShapes[0];
        benchmark::RegisterBenchmark(
            name_of(format.name, *table, shape, tokens).c_str(),
            [=](benchmark::State& state) { dense(state, *table, format.type, shape, tokens); });
      }
    }
  }
}

}  // namespace
}  // namespace tern

int main(int argc, char** argv) {
  tern::register_benchmarks();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 2;
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
