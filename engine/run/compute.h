#pragma once
// Who computes, and on how many threads.

#include <algorithm>
#include <cstdint>

#include "kernels/kernels.h"

namespace tern {

struct Compute {
  const KernelTable* kernels = nullptr;
  int threads = 1;

  // Threads worth waking for a step that reads `bytes`, counted once per token that meets them. Waking one costs about a
  // microsecond on an idle machine and a time slice on a busy one; this much work takes several microseconds.
  int threads_for(int64_t bytes) const {
    constexpr int64_t kBytesPerThread = 64 << 10;
    return static_cast<int>(std::clamp<int64_t>(bytes / kBytesPerThread, 1, threads));
  }
};

}  // namespace tern
