#pragma once
// Which kernels a test computes with.

#include <cstdio>
#include <cstdlib>

#include "kernels/select.h"

namespace tern::testing {

// The table that TERN_ISA names, else the best. Where this processor lacks what the table needs, the program ends with the
// exit code that ctest takes for a test that was skipped.
inline const KernelTable& tested_table() {
  constexpr int kSkipped = 77;
  const char* name = std::getenv("TERN_ISA");
  if (name == nullptr || *name == '\0') {
    return best_table();
  }
  const KernelTable* table = find_table(name);
  if (table == nullptr) {
    std::printf("skipped: this processor cannot run %s\n", name);
    std::fflush(stdout);
    std::_Exit(kSkipped);
  }
  return *table;
}

}  // namespace tern::testing
