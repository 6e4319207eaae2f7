#include "remote/retry.h"

namespace tern {
namespace {

// Whether another attempt may go better.
bool worth_another_try(ApiErrorClass kind) {
  switch (kind) {
    case ApiErrorClass::kRateLimit:
    case ApiErrorClass::kTimeout:
    case ApiErrorClass::kServer:
    case ApiErrorClass::kNetwork:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::optional<bool> asked_to_retry(const HttpResponse& head) {
  const std::string* text = head.header("x-should-retry");
  if (text == nullptr || (*text != "true" && *text != "false")) {
    return {};
  }
  return *text == "true";
}

std::optional<int64_t> retry_wait_ms(const FailedAttempt& failed, int32_t retries, double jitter) {
  constexpr int64_t kFirst = 500;
  constexpr int64_t kMost = 8'000;
  constexpr int32_t kAttemptOfMost = 4;  // 500 << 4 = 8000
  if (failed.attempt >= retries || failed.delivered || failed.hopeless ||
      failed.kind == ApiErrorClass::kCancelled) {
    return {};
  }
  if (!failed.asked_to_retry.value_or(worth_another_try(failed.kind))) {
    return {};
  }
  int64_t wait = failed.attempt >= kAttemptOfMost ? kMost : kFirst << failed.attempt;
  // Up to a quarter less, so that clients which failed together do not come back together.
  wait -= static_cast<int64_t>(static_cast<double>(wait) * 0.25 * jitter);
  if (failed.asked_wait_ms) {
    wait = *failed.asked_wait_ms;
    if (wait > failed.most_asked_wait_ms) {
      return {};
    }
  }
  if (failed.left_ms && wait >= *failed.left_ms) {
    return {};
  }
  return wait;
}

}  // namespace tern
