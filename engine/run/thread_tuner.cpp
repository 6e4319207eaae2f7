#include "engine/run/thread_tuner.h"

#include <algorithm>

namespace tern {
namespace {

constexpr int kLongestInterval = 64;  // passes
// Another number must be this much faster to be taken: less is noise, and changing costs a little.
constexpr double kWorthwhile = 0.97;

// Steps of a quarter: 16, 12, 9, 7, 6, 5, 4, 3, 2, 1.
int fewer(int threads) {
  return std::max(1, threads - std::max(1, threads / 4));
}
int more(int threads, int most) {
  return std::min(most, threads + std::max(1, threads / 3));
}

}  // namespace

int ThreadTuner::begin_pass() {
  best_times_ = {};
  other_times_ = {};
  other_ = best_;
  if (stride_ > 0 && most_ > 1 && passes_++ >= interval_) {
    passes_ = 0;
    other_ = look_down_ && best_ > 1 ? fewer(best_) : more(best_, most_);
    if (other_ == best_) {
      other_ = fewer(best_);
    }
    look_down_ = !look_down_;
  }
  return std::max(best_, other_);
}

int ThreadTuner::threads_for_layer(int32_t index) const {
  return is_trial(index) ? other_ : best_;
}

void ThreadTuner::end_layer(int32_t index, double seconds) {
  Times& times = is_trial(index) ? other_times_ : best_times_;
  times.seconds += seconds;
  ++times.layers;
}

void ThreadTuner::end_pass() {
  if (!comparing() || best_times_.layers == 0 || other_times_.layers == 0) {
    return;
  }
  if (other_times_.mean() < best_times_.mean() * kWorthwhile) {
    look_down_ = other_ < best_;  // go on in this direction, at once
    best_ = other_;
    interval_ = 1;
  } else {
    interval_ = std::min(2 * interval_, kLongestInterval);
  }
}

}  // namespace tern
