#pragma once
// Who computes, and on how many threads.

#include <algorithm>
#include <cstdint>

#include "engine/run/profile.h"
#include "engine/run/thread_tuner.h"
#include "kernels/kernels.h"

namespace tern {

struct Compute {
  const KernelTable* kernels = nullptr;
  int threads = 1;
  ThreadTuner* tuner = nullptr;    // if set, decides how many of the threads each layer uses
  PassProfile* profile = nullptr;  // if set, learns where the time goes

  // The time since the last lap went to `part`.
  void lap(PassPart part) const {
    if (profile != nullptr) {
      profile->lap(part);
    }
  }

  // Threads worth calling for a step that reads `bytes`, counted once per token that meets them. A call costs a fraction of a
  // microsecond, and fetching what another core has in its cache as much again; this much work takes more than that.
  int threads_for(int64_t bytes) const {
    constexpr int64_t kBytesPerThread = 32 << 10;
    return static_cast<int>(std::clamp<int64_t>(bytes / kBytesPerThread, 1, threads));
  }
};

}  // namespace tern
