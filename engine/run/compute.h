#pragma once
// Who computes, and on how many threads.

#include "kernels/kernels.h"

namespace tern {

struct Compute {
  const KernelTable* kernels = nullptr;
  int threads = 1;
};

}  // namespace tern
