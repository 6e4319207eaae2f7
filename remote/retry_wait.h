#pragma once
// Waiting between attempts.

#include <cstdint>
#include <functional>

namespace tern {

// 0.5 s, 1 s, 2 s, ... at most 30 s before attempt `attempt` + 1 (the first attempt is 0).
constexpr int32_t backoff_ms(int attempt) {
  constexpr int32_t kFirst = 500;
  constexpr int32_t kMost = 30'000;
  return attempt >= 6 ? kMost : kFirst << attempt;
}

// Sleeps; wakes early, and returns false, once `cancelled` says so.
bool wait_ms(int32_t ms, const std::function<bool()>& cancelled);

}  // namespace tern
