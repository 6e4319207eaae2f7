#pragma once
// How many threads to compute on, found by measurement while computing.

#include <cstdint>

namespace tern {

// More threads are not always faster: memory may be the limit, other programs may hold some of the cores, a virtual machine may
// own less than it shows. So now and then some layers of a pass run on the next smaller or larger number of threads, and the
// faster number stays. Results do not depend on it, only time does.
class ThreadTuner {
 public:
  // A fixed number.
  explicit ThreadTuner(int threads = 1) : ThreadTuner(threads, 0) {}
  // Up to `most` threads, all of them at first. When comparing, every `stride`-th layer runs on the other number (at least 2;
  // 0: never compare): a small stride decides sooner, a large one costs less where the other number is much slower.
  ThreadTuner(int most, int stride) : most_(most), stride_(stride), best_(most), other_(most) {}

  // Begins a pass and returns the most threads that any of its layers uses.
  int begin_pass();
  // Threads for the layer `index`.
  int threads_for_layer(int32_t index) const;
  // How long that layer took.
  void end_layer(int32_t index, double seconds);
  // Compares and chooses, if this pass was one to compare in. (A pass that was given up need not end.)
  void end_pass();

  // The number in use when nothing is compared.
  int threads() const { return best_; }

 private:
  struct Times {
    double seconds = 0;
    int32_t layers = 0;

    double mean() const { return seconds / layers; }
  };

  bool comparing() const { return other_ != best_; }
  bool is_trial(int32_t index) const { return comparing() && index % stride_ == stride_ - 1; }

  int most_ = 1;
  int stride_ = 0;
  int best_ = 1;
  int other_ = 1;          // tried in this pass; best_ if none is
  bool look_down_ = true;  // which neighbour of best_ to try next
  int passes_ = 0;         // since the last comparison
  int interval_ = 1;       // passes between comparisons
  Times best_times_;
  Times other_times_;
};

}  // namespace tern
