// The ceilings: how fast this machine reads memory, and how fast each table's instructions multiply in registers.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>

#include "engine/base/parallel.h"
#include "engine/run/ceilings.h"
#include "kernels/cpu.h"
#include "kernels/select.h"

namespace tern {
namespace {

void read(benchmark::State& state, int64_t bytes, int threads) {
  BandwidthProbe probe(bytes, threads);
  double best = 0;
  for (auto _ : state) {
    best = std::max(best, probe.measure(threads));
  }
  state.counters["bytes_per_second"] = best;
}

void peak(benchmark::State& state, int64_t (*loop)(int64_t) noexcept, int threads) {
  double best = 0;
  for (auto _ : state) {
    best = std::max(best, measure_peak(loop, threads));
  }
  state.counters["op/s"] = 2 * best;
}

void register_benchmarks() {
  for (int threads = 1; threads <= default_thread_count(); ++threads) {
    const std::string suffix = "/threads:" + std::to_string(threads);
    for (const int64_t megabytes : {1, 64, 1024}) {
      benchmark::RegisterBenchmark(
          ("read/" + std::to_string(megabytes) + "MB" + suffix).c_str(),
          [=](benchmark::State& state) { read(state, megabytes << 20, threads); });
    }
    for (const KernelTable* table : all_tables()) {
      if (runs_here(*table)) {
        benchmark::RegisterBenchmark(
            ("peak_ternary/" + std::string(table->name) + suffix).c_str(),
            [=](benchmark::State& state) { peak(state, table->peak.ternary, threads); });
        benchmark::RegisterBenchmark(
            ("peak_dense/" + std::string(table->name) + suffix).c_str(),
            [=](benchmark::State& state) { peak(state, table->peak.dense, threads); });
      }
    }
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
