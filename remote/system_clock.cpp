#include "remote/system_clock.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "remote/retry_wait.h"

namespace tern {
namespace {

template <class Time>
int64_t ms_since_epoch(Time time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

}  // namespace

int64_t SystemClock::monotonic_ms() {
  return ms_since_epoch(std::chrono::steady_clock::now());
}

int64_t SystemClock::unix_ms() {
  return ms_since_epoch(std::chrono::system_clock::now());
}

bool SystemClock::wait_ms(int64_t ms, const std::function<bool()>& cancelled) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  return tern::wait_ms(static_cast<int32_t>(std::clamp<int64_t>(ms, 0, kMost)), cancelled);
}

}  // namespace tern
