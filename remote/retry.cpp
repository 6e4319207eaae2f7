#include "remote/retry.h"

#include <algorithm>
#include <cmath>

#include "engine/base/number.h"
#include "remote/time_text.h"

namespace tern {
namespace {

std::optional<double> number_at(const HttpResponse& head, std::string_view name) {
  const std::string* text = head.header(name);
  return text == nullptr ? std::nullopt : number_of(*text);
}

// Milliseconds that lie ahead, rounded up; none: not so.
std::optional<int64_t> ahead(double ms) {
  // Above this many (30 years) nobody waits, and numbers stay within int64.
  constexpr double kMost = 1e12;
  return ms > 0 ? std::optional(static_cast<int64_t>(std::ceil(std::min(ms, kMost))))
                : std::nullopt;
}

std::optional<int64_t> ahead_of(std::optional<int64_t> moment, int64_t now_unix_ms) {
  return moment ? ahead(static_cast<double>(*moment) - static_cast<double>(now_unix_ms))
                : std::nullopt;
}

std::optional<int64_t> in_headers(const HttpResponse& head, int64_t now_unix_ms) {
  for (const char* name : {"retry-after-ms", "x-ms-retry-after-ms"}) {
    if (const auto ms = number_at(head, name)) {
      return ahead(*ms);
    }
  }
  if (const auto seconds = number_at(head, "retry-after")) {
    return ahead(*seconds * 1000);
  }
  const std::string* after = head.header("retry-after");
  return after == nullptr ? std::nullopt : ahead_of(parse_http_date(*after), now_unix_ms);
}

// x-ratelimit-reset comes as Unix time in seconds or milliseconds, and as seconds from now.
std::optional<int64_t> in_reset(const HttpResponse& head, int64_t now_unix_ms) {
  const auto reset = number_at(head, "x-ratelimit-reset");
  if (!reset) {
    return {};
  }
  const auto now = static_cast<double>(now_unix_ms);
  constexpr double kSecondsOf2001 = 1e9;
  if (*reset < kSecondsOf2001) {
    return ahead(*reset * 1000);
  }
  return ahead(*reset < kSecondsOf2001 * 1000 ? *reset * 1000 - now : *reset - now);
}

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

std::optional<int64_t> asked_wait_ms(const HttpResponse& head, const ServerError& said,
                                     ApiErrorClass kind, int64_t now_unix_ms) {
  if (const auto wait = in_headers(head, now_unix_ms)) {
    return wait;
  }
  if (said.retry_after_ms && *said.retry_after_ms > 0) {
    return said.retry_after_ms;
  }
  if (const auto wait = ahead_of(said.resets_at, now_unix_ms)) {
    return wait;
  }
  // Answers of other kinds carry it too, and mean nothing by it.
  return kind == ApiErrorClass::kRateLimit ? in_reset(head, now_unix_ms) : std::nullopt;
}

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
    if (*failed.asked_wait_ms > kMostAskedWaitMs) {
      return {};
    }
    wait = *failed.asked_wait_ms;
  }
  if (failed.left_ms && wait >= *failed.left_ms) {
    return {};
  }
  return wait;
}

}  // namespace tern
