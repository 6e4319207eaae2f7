#include "tools/bench_runner.h"

#include <algorithm>
#include <bit>

#include "engine/base/clock.h"
#include "engine/base/memory.h"

namespace tern::cli {
namespace {

// Any tokens serve, but always the same at a position, so that a cache filled once stays right when a test writes into it.
std::vector<TokenId> tokens_at(int first, int count, int32_t vocab) {
  std::vector<TokenId> tokens(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    tokens[static_cast<size_t>(i)] =
        static_cast<TokenId>((int64_t{first} + i) * 7919 % (vocab - 1) + 1);
  }
  return tokens;
}

// More than caches hold, and no more than a small machine has.
constexpr int64_t kLargestSet = int64_t{1} << 30;

}  // namespace

std::string test_name(const BenchTest& test) {
  std::string name =
      test.prompt > 0 ? "pp" + std::to_string(test.prompt) : "tg" + std::to_string(test.generate);
  return test.depth > 0 ? name + " @ d" + std::to_string(test.depth) : name;
}

// Appends so many tokens to what the session holds, as the test does; false if interrupted.
bool BenchRunner::pass(Setting& setting, const BenchTest& test, int tokens) {
  Session& session = *setting.session;
  const std::vector<TokenId> ids =
      tokens_at(session.length(), tokens, session.model().config().vocab);
  const auto go_on = [&] { return keep_going_(-1, {}); };
  if (test.prompt > 0) {
    return !session.append(ids, go_on).empty();
  }
  // What choosing each token greedily asks for.
  const LogitsWanted largest{.largest = 1, .tokens = {}};
  for (const TokenId& id : ids) {
    if (session.append(std::span(&id, 1), go_on, largest).empty()) {
      return false;
    }
  }
  return true;
}

Result<void> BenchRunner::prepare(const BenchTest& test, double done) {
  BenchModel& model = run_.models[test.model];
  const auto [entry, is_new] = settings_.try_emplace(key_of(test));
  Setting& setting = entry->second;
  const uint64_t before = resident_memory();
  if (is_new) {
    setting.profile = std::make_unique<PassProfile>();
    SessionOptions options;
    for (const BenchResult& result : run_.results) {
      if (key_of(result.test) == key_of(test)) {
        options.context = std::max(options.context, test.depth + result.test.tokens());
      }
    }
    options.threads = test.threads;
    options.kv_type = run_.kv_type;
    options.profile = setting.profile.get();
    ASSIGN_OR_RETURN(Session session, Session::create(model.model, options));
    if (session.context() < options.context) {
      return Error{session.plan().notice +
                   " Close other programs, or measure fewer models at once."};
    }
    setting.session = std::make_unique<Session>(std::move(session));
    if (test.depth > 0) {
      keep_going_(done, "filling the context of " + model.name);
      const std::vector<TokenId> ids = tokens_at(0, test.depth, model.model->config().vocab);
      if (setting.session->append(ids, [&] { return keep_going_(-1, {}); }).empty()) {
        return {};  // interrupted
      }
    }
  }
  // Pages come in, clocks go up.
  keep_going_(done, "warming up " + model.name);
  setting.session->rewind(test.depth);
  constexpr int kPromptWarmup = 64;
  constexpr int kTokenWarmup = 3;
  pass(setting, test, std::min(test.tokens(), test.prompt > 0 ? kPromptWarmup : kTokenWarmup));
  const uint64_t after = resident_memory();
  model.resident += after > before ? after - before : 0;
  return {};
}

Result<void> BenchRunner::prepare() {
  run_.energy = energy_.source();
  for (const BenchResult& result : run_.results) {
    if (!keep_going_(0, {})) {
      return {};
    }
    RETURN_IF_ERROR(prepare(result.test, 0));
  }
  return {};
}

BandwidthProbe& BenchRunner::probe_for(const BenchTest& test) {
  // Powers of two, so that models of nearly the same size share one.
  const size_t bytes = std::max<size_t>(run_.models[test.model].model->bytes_per_token(), 1 << 16);
  const int64_t size = std::min(static_cast<int64_t>(std::bit_ceil(bytes)), kLargestSet);
  int most_threads = 1;
  for (const BenchResult& result : run_.results) {
    most_threads = std::max(most_threads, result.test.threads);
  }
  return probes_.try_emplace(size, size, most_threads).first->second;
}

// None if interrupted.
std::optional<BenchSample> BenchRunner::sample(const BenchTest& test) {
  const BenchModel& model = run_.models[test.model];
  Setting& setting = settings_.at(key_of(test));
  const PeakLoops& loops = model.model->kernels().peak;
  BenchSample sample;
  sample.bandwidth = probe_for(test).measure(test.threads);
  sample.peak = measure_peak(model.ternary ? loops.ternary : loops.dense, test.threads);
  setting.session->rewind(test.depth);
  setting.profile->clear();
  const auto skipped_rows = [&] {
    const HeadStats& stats = setting.session->head_stats();
    return stats.rows - stats.full_rows;
  };
  const int64_t skipped_before = skipped_rows();
  energy_.start();
  const Stopwatch watch;
  const bool finished = pass(setting, test, test.tokens());
  sample.seconds = watch.seconds();
  sample.joules = energy_.joules();
  sample.parts = *setting.profile;
  sample.skipped_rows = skipped_rows() - skipped_before;
  return finished ? std::optional(sample) : std::nullopt;
}

void BenchRunner::measure(int repetitions) {
  const CpuTimes begin = cpu_times();
  const double total = static_cast<double>(repetitions) * static_cast<double>(run_.results.size());
  double done = 0;
  for (int repetition = 0; repetition < repetitions; ++repetition) {
    for (BenchResult& result : run_.results) {
      if (!keep_going_(done / total,
                       run_.models[result.test.model].name + " " + test_name(result.test))) {
        return;
      }
      if (const std::optional<BenchSample> taken = sample(result.test)) {
        result.samples.push_back(*taken);
      }
      done += 1;
      run_.other_load = other_load(begin, cpu_times());
    }
  }
}

}  // namespace tern::cli
