#pragma once
// Time as the retry loop, the router and its breakers see it: tests put their own in its place.

#include <cstdint>
#include <functional>

namespace tern {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t monotonic_ms() = 0;
  virtual int64_t unix_ms() = 0;
  // Sleeps; wakes early, and returns false, once `cancelled` says so.
  virtual bool wait_ms(int64_t ms, const std::function<bool()>& cancelled) = 0;
};

}  // namespace tern
