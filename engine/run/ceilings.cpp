#include "engine/run/ceilings.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "engine/base/parallel.h"

namespace tern {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

constexpr int64_t kPageWords = 4096 / 8;
constexpr int64_t kLineWords = 8;
// Lines are fetched into the second-level cache so many words ahead, and into the first so many.
constexpr int64_t kFarAhead = 3072 / 8;
constexpr int64_t kNearAhead = 1024 / 8;

// Sums up two streams of `words` words each. Eight sums a stream, so that adding does not hold up reading. Prefetching may
// reach behind the end: a hint about memory that is not there does nothing.
template <bool kPrefetch>
uint64_t read_streams(const uint64_t* first, const uint64_t* second, int64_t words) {
  uint64_t sums[2][kLineWords] = {};
  for (int64_t at = 0; at < words; at += kLineWords) {
    for (int stream = 0; stream < 2; ++stream) {
      const uint64_t* line = (stream == 0 ? first : second) + at;
      if constexpr (kPrefetch) {
        __builtin_prefetch(line + kNearAhead, 0, 3);
        __builtin_prefetch(line + kFarAhead, 0, 2);
      }
      for (int64_t i = 0; i < kLineWords; ++i) {
        sums[stream][i] += line[i];
      }
    }
  }
  uint64_t total = 0;
  for (int64_t i = 0; i < kLineWords; ++i) {
    total += sums[0][i] + sums[1][i];
  }
  return total;
}

}  // namespace

BandwidthProbe::BandwidthProbe(int64_t bytes, int threads)
    : words_(static_cast<size_t>(std::max<int64_t>(bytes / 4096, 2 * threads) * kPageWords)),
      sums_(static_cast<size_t>(threads) * kLineWords) {
  // Touched by the threads that will read it, as weights are.
  parallel_for(threads, static_cast<int64_t>(words_.size()), 2 * kPageWords,
               [&](int64_t begin, int64_t end, int) {
                 std::fill(words_.data() + begin, words_.data() + end, uint64_t{1});
               });
}

double BandwidthProbe::pass(int threads, int repeats, int prefetch) {
  const auto words = static_cast<int64_t>(words_.size());
  const Clock::time_point start = Clock::now();
  parallel_for(threads, words, 2 * kPageWords, [&](int64_t begin, int64_t end, int thread) {
    const int64_t half = (end - begin) / 2 / kLineWords * kLineWords;
    const uint64_t* first = words_.data() + begin;
    uint64_t& sum = sums_[static_cast<size_t>(thread) * kLineWords];
    for (int i = 0; i < repeats; ++i) {
      sum += prefetch != 0 ? read_streams<true>(first, first + half, half)
                           : read_streams<false>(first, first + half, half);
    }
  });
  return seconds_since(start);
}

double BandwidthProbe::measure(int threads) {
  constexpr double kShortest = 4e-3;  // seconds of a pass, against the cost of starting it
  constexpr int kPasses = 3;
  const double once = std::max(pass(threads, 1, 1), 1e-7);
  const int repeats = std::max(1, static_cast<int>(std::ceil(kShortest / once)));
  double best = once * repeats;
  for (int i = 0; i < 2 * kPasses; ++i) {
    best = std::min(best, pass(threads, repeats, i % 2));
  }
  return static_cast<double>(words_.size() * sizeof(uint64_t)) * repeats / best;
}

double measure_peak(int64_t (*loop)(int64_t rounds) noexcept, int threads) {
  constexpr double kEnough = 5e-3;  // seconds of a pass
  constexpr int kPasses = 5;
  int64_t rounds = 1000;
  for (Clock::time_point start = Clock::now(); loop(rounds) > 0 && seconds_since(start) < kEnough;
       start = Clock::now()) {
    rounds *= 2;
  }
  double best = 0;
  for (int i = 0; i < kPasses; ++i) {
    const Clock::time_point start = Clock::now();
    parallel_for(threads, threads, 1, [&](int64_t, int64_t, int) { loop(rounds); });
    best = std::max(best, static_cast<double>(rounds) / seconds_since(start));
  }
  return best * static_cast<double>(loop(1)) * threads;
}

}  // namespace tern
