#pragma once
// When to try again, and after how long: arithmetic without a clock, a network or a state.

#include <cstdint>
#include <optional>

#include "remote/api_error.h"

namespace tern {

// The longest wait that a server may ask for.
inline constexpr int64_t kMostAskedWaitMs = 120'000;

// What x-should-retry says.
std::optional<bool> asked_to_retry(const HttpResponse& head);

struct FailedAttempt {
  int32_t attempt = 0;  // 0: the first
  ApiErrorClass kind = ApiErrorClass::kServer;
  bool delivered = false;                // the caller has got part of the answer
  bool hopeless = false;                 // a certificate or an address that is wrong stays wrong
  std::optional<bool> asked_to_retry;    // by the server
  std::optional<int64_t> asked_wait_ms;  // by the server
  std::optional<int64_t> left_ms;        // until the deadline
  int64_t most_asked_wait_ms = kMostAskedWaitMs;  // a longer one is not waited for
};

// How long to wait before the next attempt; none: give up. `jitter` is a number from 0 to 1.
std::optional<int64_t> retry_wait_ms(const FailedAttempt& failed, int32_t retries, double jitter);

}  // namespace tern
