#pragma once
// A clock that a test sets: waiting takes no time and is recorded.

#include <vector>

#include "remote/clock.h"

namespace tern::testing {

class FakeClock final : public Clock {
 public:
  int64_t monotonic_ms() override { return now_ms; }
  int64_t unix_ms() override { return kUnixStart + now_ms; }
  bool wait_ms(int64_t ms, const std::function<bool()>& cancelled) override {
    if (cancelled && cancelled()) {
      return false;
    }
    waits.push_back(ms);
    now_ms += ms;
    return true;
  }

  // 2026-01-01 00:00:00 UTC.
  static constexpr int64_t kUnixStart = 1'767'225'600'000;
  int64_t now_ms = 1'000;
  std::vector<int64_t> waits;
};

}  // namespace tern::testing
