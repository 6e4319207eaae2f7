#pragma once
// What this machine's memory and registers allow: the figures that measured speeds are divided by.

#include <cstdint>

#include "engine/base/buffer.h"
#include "kernels/kernels.h"

namespace tern {

// Reads a set of memory over and over, as the kernels read weights: each thread its own part, in order, two streams at once,
// with and without prefetching ahead, in huge pages.
class BandwidthProbe {
 public:
  // Allocates and touches `bytes` (at least a page a thread; rounded down to whole pages).
  BandwidthProbe(int64_t bytes, int threads);

  // Bytes a second: the best of a few passes, for what disturbs one makes it slower, never faster. Sets that fit the caches are
  // read until a pass takes a few milliseconds.
  double measure(int threads);

 private:
  double pass(int threads, int repeats, int prefetch);

  AlignedArray<uint64_t> words_;
  AlignedArray<uint64_t> sums_;  // what each thread read, so that the reading is not left out
};

// Multiplications (each with its addition) a second that `threads` threads reach in registers alone.
double measure_peak(int64_t (*loop)(int64_t rounds) noexcept, int threads);

}  // namespace tern
