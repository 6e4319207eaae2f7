#pragma once
// The time of this machine.

#include "remote/clock.h"

namespace tern {

class SystemClock final : public Clock {
 public:
  int64_t monotonic_ms() override;
  int64_t unix_ms() override;
  bool wait_ms(int64_t ms, const std::function<bool()>& cancelled) override;
};

}  // namespace tern
