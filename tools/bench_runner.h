#pragma once
// Measures prompts and generation on several models and settings, one repetition of each in turn.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/run/ceilings.h"
#include "engine/session/session.h"
#include "tools/system_load.h"

namespace tern::cli {

// A model loaded for one kernel table and one packing.
struct BenchModel {
  std::string name;     // of its file
  std::string packing;  // of its ternary matrices; a dense type's name if it has none
  bool ternary = false;
  std::shared_ptr<const Model> model;
  uint64_t resident = 0;       // bytes that it made resident, sessions included
  std::optional<size_t> twin;  // index of its fp16 twin
};

// Reads `prompt` tokens at once, or `generate` tokens one by one (the other is 0), after `depth` tokens.
struct BenchTest {
  size_t model = 0;  // index
  int threads = 1;
  int prompt = 0;
  int generate = 0;
  int depth = 0;

  int tokens() const { return prompt + generate; }
};

// One repetition.
struct BenchSample {
  double seconds = 0;
  PassProfile parts;
  std::optional<double> joules;
  int64_t skipped_rows = 0;  // of the output head's fine plane, which screening left unread
  // The ceilings, measured just before: memory shared with others has no constant speed.
  double bandwidth = 0;  // bytes a second that as many threads read from a set of the model's size
  double peak = 0;       // multiplications a second in registers
};

struct BenchResult {
  BenchTest test;
  std::vector<BenchSample> samples;
};

struct BenchRun {
  std::vector<BenchModel> models;
  std::vector<BenchResult> results;
  KvType kv_type = KvType::kF16;
  double other_load = 0;  // CPUs that other programs kept busy meanwhile
  EnergyMeter::Source energy = EnergyMeter::Source::kNone;
};

class BenchRunner {
 public:
  // False stops: what is measured by then stays. `done`: 0 to 1; `what`: what comes next.
  using KeepGoing = std::function<bool(double done, const std::string& what)>;

  explicit BenchRunner(BenchRun& run, KeepGoing keep_going)
      : run_(run), keep_going_(std::move(keep_going)) {}

  // Memory for every test of run.results, each warmed up, contexts filled. Errors: too little memory.
  Result<void> prepare();
  void measure(int repetitions);

 private:
  struct Setting {
    std::unique_ptr<PassProfile> profile;
    std::unique_ptr<Session> session;
  };
  using Key = std::tuple<size_t, int, int>;  // model, threads, depth

  static Key key_of(const BenchTest& test) { return {test.model, test.threads, test.depth}; }
  Result<void> prepare(const BenchTest& test, double done);
  bool pass(Setting& setting, const BenchTest& test, int tokens);
  BandwidthProbe& probe_for(const BenchTest& test);
  std::optional<BenchSample> sample(const BenchTest& test);

  BenchRun& run_;
  KeepGoing keep_going_;
  std::map<Key, Setting> settings_;
  std::map<int64_t, BandwidthProbe> probes_;  // by size
  EnergyMeter energy_;
};

// "pp512", "tg128 @ d2048": llama-bench's names.
std::string test_name(const BenchTest& test);

}  // namespace tern::cli
