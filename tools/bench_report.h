#pragma once
// What is said about measurements: figures derived in one place, tables and machine-readable forms of them.

#include <optional>
#include <string>
#include <vector>

#include "tools/bench_runner.h"

namespace tern::cli {

// Middle of a list and half of the distance between its ends.
struct Spread {
  double median = 0;
  double half_range = 0;
};
Spread spread_of(std::vector<double> values);

// What one pass over a test's tokens does, whatever the time it takes.
struct BenchWork {
  double bytes =
      0;  // read: weights once a pass, and the keys and values of all positions before each token
  double multiplications = 0;  // each with an addition
};
BenchWork work_of(const BenchTest& test, const Model& model, KvType kv_type = KvType::kF16);

// The figures of one test: medians over its repetitions.
struct BenchRow {
  std::string model, architecture, kernels, packing, test;
  uint64_t model_bytes = 0;  // of the file
  uint64_t parameters = 0;
  int threads = 1;
  int prompt = 0, generate = 0, depth = 0;
  std::vector<double> samples;  // tokens a second, one a repetition
  Spread tokens_per_second;
  double gigabytes_per_second = 0;  // read
  double bandwidth = 0;             // GB/s measured beside it
  double of_bandwidth = 0;          // the one over the other: median of the ratios
  double tops = 0;                  // 10^12 operations a second, two a multiplication
  double peak = 0;                  // measured beside it
  double of_peak = 0;
  double ms[kPassParts] = {};  // a token, in PassPart's order
  std::optional<double> joules_per_token;
  uint64_t resident = 0;
  std::optional<double> speedup;  // over the fp16 twin
};

// One row for each test with at least one repetition.
std::vector<BenchRow> rows_of(const BenchRun& run);

enum class BenchFormat : uint8_t { kMarkdown, kJson, kJsonLines, kCsv };

struct BenchHeading {
  std::string version;
  std::string cpu;
  std::string date;  // UTC, ISO 8601
};

// Lines for people that belong to the figures: other load, no energy counters.
std::vector<std::string> notes_of(const BenchRun& run);
std::string format_rows(const std::vector<BenchRow>& rows, const std::vector<std::string>& notes,
                        const BenchHeading& heading, BenchFormat format);

}  // namespace tern::cli
