#include "engine/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace tern {

void check_failed(const char* file, int line, const char* condition, const char* message) noexcept {
  std::fprintf(stderr, "%s:%d: check failed: %s (%s)\nThis is a fault of Tern, please report it.\n",
               file, line, condition, message);
  std::abort();
}

}  // namespace tern
