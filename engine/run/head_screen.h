#pragma once
// Screening: the largest products of a split head, without reading or computing all of it.
//
// Choosing a token needs only the largest few logits. The coarse plane of every row and the upper half of the input's bits give each
// product to within a bound; only those rows that can still be among the largest are multiplied in full. What is left out is
// proved to be smaller (see the .cpp file), so that the choice is the same as from all logits.

#include <cstdint>
#include <span>

#include "engine/base/buffer.h"
#include "engine/run/compute.h"

namespace tern {

// Positions whose logits are computed together.
inline constexpr int32_t kLogitsBatch = 8;

// Which logits a caller will look at. All others may come as minus infinity.
struct LogitsWanted {
  int32_t largest =
      0;  // so many of the largest, and those equal to the last of them; 0: all logits
  std::span<const int32_t> tokens;  // and those of these tokens
};

// What screening did so far.
struct HeadStats {
  int64_t positions = 0;  // whose logits were computed
  int64_t screened = 0;   // of these, by screening
  int64_t rows = 0;       // of the head at the screened positions
  int64_t full_rows = 0;  // of these, read in both planes
};

class HeadScreen {
 public:
  // More than so many of the largest are not looked for.
  static constexpr int32_t kMostLargest = 256;

  HeadScreen() = default;
  HeadScreen(int32_t rows, int threads);
  static size_t bytes(int32_t rows, int threads);

  // The wanted products y[t * w.rows + r] of up to kLogitsBatch inputs, minus infinity for the others; or false, with nothing
  // done, if all are wanted or screening has not paid lately.
  bool multiply(const Compute& compute, const SplitMatrix& w, std::span<const SplitInput> x,
                const LogitsWanted& wanted, float* y);

  const HeadStats& stats() const { return stats_; }

 private:
  struct Leader {
    float estimate;
    int32_t row;
  };
  // The rows with the largest estimates that one thread has met for one input.
  struct Leaders {
    Leader heap[kMostLargest];  // the least of them in front
    int32_t count = 0;
  };
  // One call.
  struct Job {
    const Compute& compute;
    const SplitMatrix& w;
    std::span<const SplitInput> x;
    int32_t largest;
    float* y;
  };

  Leaders& leaders(int thread, size_t token);
  static void offer(Leaders& leaders, const float* estimates, RowRange rows, int32_t largest);
  static void add(Leaders& leaders, const Leader& leader, int32_t largest);
  void estimate_all(const Job& job);
  float threshold(const Job& job, size_t token);
  int64_t multiply_candidates(const Job& job, const float* thresholds);
  void judge(int64_t rows, int64_t full_rows);

  int threads_ = 0;
  AlignedArray<float> estimates_;  // kLogitsBatch x rows, before the input's scale
  AlignedArray<int32_t> lists_;    // a list of rows for each thread
  AlignedBuffer leaders_;          // threads x kLogitsBatch
  AlignedArray<Leader> merged_;    // those of all threads
  HeadStats stats_;
  int32_t pause_ = 0;  // positions until screening is tried again
  int32_t next_pause_ = 0;
};

}  // namespace tern
