// When another attempt is made, by the published rules: two retries, half a second doubled to eight less up to a quarter, the
// server's wishes up to two minutes, never past the deadline.

#include "remote/retry.h"

#include <gtest/gtest.h>

#include "remote/asked_wait.h"
#include "remote/time_text.h"

namespace tern {
namespace {

using Kind = ApiErrorClass;

constexpr int64_t kNow = 1'767'225'600'000;  // 2026-01-01 00:00:00 UTC

FailedAttempt failed(Kind kind, int32_t attempt = 0) {
  FailedAttempt result;
  result.attempt = attempt;
  result.kind = kind;
  return result;
}

TEST(Retry, BacksOffFromHalfASecondToEight) {
  const int64_t expected[] = {500, 1000, 2000, 4000, 8000, 8000, 8000};
  for (int32_t attempt = 0; attempt < 7; ++attempt) {
    const FailedAttempt now = failed(Kind::kServer, attempt);
    EXPECT_EQ(retry_wait_ms(now, 100, 0), expected[attempt]);
    EXPECT_EQ(retry_wait_ms(now, 100, 1), expected[attempt] * 3 / 4);
  }
  EXPECT_EQ(retry_wait_ms(failed(Kind::kServer, 1'000'000), 2'000'000, 0), 8000);
}

TEST(Retry, TriesTwiceMoreAndOnlyWhereItMayHelp) {
  for (const Kind kind : {Kind::kRateLimit, Kind::kTimeout, Kind::kServer, Kind::kNetwork}) {
    EXPECT_TRUE(retry_wait_ms(failed(kind, 0), 2, 0));
    EXPECT_TRUE(retry_wait_ms(failed(kind, 1), 2, 0));
    EXPECT_FALSE(retry_wait_ms(failed(kind, 2), 2, 0));
    EXPECT_FALSE(retry_wait_ms(failed(kind, 0), 0, 0));
  }
  for (const Kind kind :
       {Kind::kAuth, Kind::kPermission, Kind::kQuota, Kind::kContextLength, Kind::kModelNotFound,
        Kind::kBadRequest, Kind::kContentPolicy, Kind::kProtocol, Kind::kCancelled}) {
    EXPECT_FALSE(retry_wait_ms(failed(kind), 2, 0)) << name_of(kind);
  }
}

TEST(Retry, NeverAfterTheCallerGotSomething) {
  FailedAttempt now = failed(Kind::kNetwork);
  now.delivered = true;
  EXPECT_FALSE(retry_wait_ms(now, 2, 0));
  now.asked_to_retry = true;
  EXPECT_FALSE(retry_wait_ms(now, 2, 0));
  now.delivered = false;
  EXPECT_TRUE(retry_wait_ms(now, 2, 0));
  now.hopeless = true;
  EXPECT_FALSE(retry_wait_ms(now, 2, 0));
}

TEST(Retry, DoesWhatTheServerAsksUpToTwoMinutes) {
  FailedAttempt now = failed(Kind::kRateLimit);
  now.asked_wait_ms = 17'000;
  EXPECT_EQ(retry_wait_ms(now, 2, 0.5), 17'000);
  now.asked_wait_ms = 120'000;
  EXPECT_EQ(retry_wait_ms(now, 2, 0.5), 120'000);
  now.asked_wait_ms = 120'001;
  EXPECT_FALSE(retry_wait_ms(now, 2, 0.5));
  now = failed(Kind::kRateLimit);
  now.asked_to_retry = false;
  EXPECT_FALSE(retry_wait_ms(now, 2, 0));
  now = failed(Kind::kBadRequest);
  now.asked_to_retry = true;
  EXPECT_EQ(retry_wait_ms(now, 2, 0), 500);
}

TEST(Retry, NeverWaitsPastTheDeadline) {
  FailedAttempt now = failed(Kind::kServer);
  now.left_ms = 501;
  EXPECT_EQ(retry_wait_ms(now, 2, 0), 500);
  now.left_ms = 500;
  EXPECT_FALSE(retry_wait_ms(now, 2, 0));
  now.asked_wait_ms = 100;
  EXPECT_EQ(retry_wait_ms(now, 2, 0), 100);
  now.left_ms = -5;
  EXPECT_FALSE(retry_wait_ms(now, 2, 0));
}

std::optional<int64_t> asked(const HttpHeaders& headers, const std::string& body = "",
                             Kind kind = Kind::kRateLimit) {
  HttpResponse head;
  head.status = 429;
  head.headers = headers;
  return asked_wait_ms(head, read_error_body(body), kind, kNow);
}

TEST(Retry, ReadsEveryWayToAskForAWait) {
  EXPECT_EQ(asked({}), std::nullopt);
  EXPECT_EQ(asked({{"Retry-After-Ms", "1500"}, {"Retry-After", "9"}}), 1500);
  EXPECT_EQ(asked({{"x-ms-retry-after-ms", "250.5"}}), 251);
  EXPECT_EQ(asked({{"Retry-After", "7"}}), 7000);
  EXPECT_EQ(asked({{"retry-after", "1.5"}}), 1500);
  EXPECT_EQ(asked({{"Retry-After", "Thu, 01 Jan 2026 00:00:20 GMT"}}), 20'000);
  EXPECT_EQ(asked({{"Retry-After", "Thu, 01 Jan 2026 00:00:00 GMT"}}), std::nullopt);
  EXPECT_EQ(asked({{"Retry-After", "Wed, 31 Dec 2025 23:59:59 GMT"}}), std::nullopt);
  for (const char* nothing : {"0", "-3", "soon", "", "nan", "inf", "3 sheep"}) {
    EXPECT_EQ(asked({{"Retry-After", nothing}}), std::nullopt) << nothing;
  }
  EXPECT_EQ(asked({{"Retry-After", "1e300"}}),
            1'000'000'000'000);  // beyond all limits, but a number

  EXPECT_EQ(asked({}, R"({"error":{"message":"x","retry_after":1.2}})"), 1200);
  EXPECT_EQ(asked({}, R"({"error":"x","retryAfterSeconds":30})"), 30'000);
  EXPECT_EQ(asked({}, R"({"error":"x","retry_after":"4"})"), 4000);
  EXPECT_EQ(asked({}, R"({"error":"x","remainingMinutes":2})"), 120'000);
  EXPECT_EQ(asked({}, R"({"error":"x","resetAt":"2026-01-01T00:01:00.250Z"})"), 60'250);
  EXPECT_EQ(asked({}, R"({"error":"x","resetAt":"2026-01-01T01:00:30+01:00"})"), 30'000);
  EXPECT_EQ(asked({}, R"({"error":"x","resetAt":1767225605})"), 5000);
  EXPECT_EQ(asked({}, R"({"error":"x","resetAt":1767225605000})"), 5000);
  EXPECT_EQ(asked({}, R"({"error":"x","resetAt":"2020-01-01T00:00:00Z"})"), std::nullopt);
  EXPECT_EQ(asked({{"Retry-After", "2"}}, R"({"error":"x","retry_after":9})"), 2000);

  EXPECT_EQ(asked({{"x-ratelimit-reset", "1767225645"}}), 45'000);
  EXPECT_EQ(asked({{"x-ratelimit-reset", "1767225645000"}}), 45'000);
  EXPECT_EQ(asked({{"x-ratelimit-reset", "12"}}), 12'000);
  EXPECT_EQ(asked({{"x-ratelimit-reset", "1767225645"}, {"retry-after", "44"}}), 44'000);
  EXPECT_EQ(asked({{"x-ratelimit-reset", "1767225645"}}, "", Kind::kServer), std::nullopt);
}

TEST(Retry, ReadsWhetherToRetry) {
  HttpResponse head;
  EXPECT_EQ(asked_to_retry(head), std::nullopt);
  head.headers = {{"X-Should-Retry", "true"}};
  EXPECT_EQ(asked_to_retry(head), true);
  head.headers = {{"x-should-retry", "false"}};
  EXPECT_EQ(asked_to_retry(head), false);
  head.headers = {{"x-should-retry", "maybe"}};
  EXPECT_EQ(asked_to_retry(head), std::nullopt);
}

// The example of RFC 9110 (5.6.7), and what `date -u -d ... +%s` says of the others.
TEST(TimeText, ReadsDatesInTheirThreeForms) {
  EXPECT_EQ(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), 784'111'777'000);
  EXPECT_EQ(parse_http_date("Sun Nov  6 08:49:37 1994"), 784'111'777'000);
  EXPECT_EQ(parse_http_date("Sunday, 06-Nov-26 08:49:37 GMT"), 1'793'954'977'000);
  EXPECT_EQ(parse_http_date("Thu, 29 Feb 2024 23:59:60 GMT"), 1'709'251'199'000);
  for (const char* bad : {"", "tomorrow", "Sun, 06 Nov 1994", "Sun, 31 Feb 2026 08:49:37 GMT",
                          "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:49:37 CET",
                          "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 99999999999 Nov 1994 08:49:37 GMT",
                          "a b c d e f g"}) {
    EXPECT_EQ(parse_http_date(bad), std::nullopt) << bad;
  }
}

TEST(TimeText, ReadsIsoTimes) {
  EXPECT_EQ(parse_iso_time("2024-02-29T12:00:00Z"), 1'709'208'000'000);
  EXPECT_EQ(parse_iso_time("2024-02-29T12:00:00.5Z"), 1'709'208'000'500);
  EXPECT_EQ(parse_iso_time("2024-02-29 12:00:00.123456+05:30"), 1'709'188'200'123);
  EXPECT_EQ(parse_iso_time("2024-02-29T12:00:00-08:00"), 1'709'236'800'000);
  for (const char* bad :
       {"", "2024-02-30T12:00:00Z", "2024-02-29T12:00:00", "2024-02-29T12:00Z",
        "2024-02-29T12:00:00.Z5", "2024-02-29T12:00:00+5:30", "2024-13-01T00:00:00Z",
        "2024-02-29T12:00:00+99:00", "x024-02-29T12:00:00Z"}) {
    EXPECT_EQ(parse_iso_time(bad), std::nullopt) << bad;
  }
}

TEST(TimeText, WritesTimesForPeople) {
  EXPECT_EQ(utc_text(784'111'777'000), "1994-11-06 08:49 UTC");
  EXPECT_EQ(duration_text(500), "0.5 s");
  EXPECT_EQ(duration_text(1000), "1 s");
  EXPECT_EQ(duration_text(44'500), "45 s");
  EXPECT_EQ(duration_text(150'000), "3 min");
  EXPECT_EQ(duration_text(7'200'000), "2 h");
}

// One row: a refusal as servers send it, and the wait that it asks for; 0: none.
struct WaitRow {
  int32_t status;
  HttpHeaders headers;
  const char* body;
  int64_t wait_ms;
};

TEST(Retry, FindsTheWaitWhereverServersPutIt) {
  const WaitRow table[] = {
      {429, {}, R"({"error":{"message":"Please retry after 33 seconds."}})", 33'000},
      {429, {}, "Rate limit reached. Please try again in 1m2.5s. Visit the page.", 62'500},
      {429, {}, "Please try again in 20ms.", 20},
      {429, {}, "Limit 500000, Used 499000. Please try again in 7m12s.", 432'000},
      {429, {}, "Please retry in 58.3s.", 58'300},
      {429, {}, "Try again in 1 minute and 2 seconds", 62'000},
      {429, {}, "Too many requests: please wait for about 30 seconds before the next", 30'000},
      {429, {}, "Slow down, retry after 7", 7'000},
      {429, {}, "请求过于频繁，请在 33 秒后重试", 33'000},
      {429, {}, "您的请求过多，5分钟后再试", 300'000},
      {429, {}, R"({"error":{"message":"m","retry_after":"12s"}})", 12'000},
      {429, {}, R"({"error":{"message":"m","retry_after":"12"}})", 12'000},
      {429,
       {},
       R"({"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"33.5s"}]}})",
       33'500},
      {429,
       {},
       R"({"error":{"message":"m","metadata":{"headers":{"X-RateLimit-Reset":"1767225645000"}}}})",
       45'000},
      {429, {}, R"({"error":{"message":"m","metadata":{"retry_after_seconds":9}}})", 9'000},
      {429, {}, R"({"error":"Rate limit exceeded","remainingMinutes":7})", 420'000},
      {429, {}, R"({"error":"Rate limit exceeded","resetAt":"2026-01-01T00:00:40Z"})", 40'000},
      {429, {}, "Limit resets at: 2026-01-01 00:00:50 UTC", 50'000},
      {503, {}, R"({"error":"Model x is currently loading","estimated_time":20.5})", 20'500},
      {429, {{"Retry-After", "3"}}, "please retry after 33 seconds", 3'000},
      {429, {{"Retry-After", "1m30s"}}, "", 90'000},
      {429, {{"retry-after-ms", "250"}, {"Retry-After", "3"}}, "", 250},
      {429, {{"Retry-After", "Thu, 01 Jan 2026 00:00:05 GMT"}}, "", 5'000},
      {429, {{"x-ratelimit-reset-requests", "1s"}}, "", 1'000},
      {429, {{"x-ratelimit-reset-tokens", "6m0s"}}, "", 360'000},
      {429,
       {{"x-ratelimit-remaining-requests", "0"},
        {"x-ratelimit-reset-requests", "2m59.56s"},
        {"x-ratelimit-remaining-tokens", "800"},
        {"x-ratelimit-reset-tokens", "1s"}},
       "",
       179'560},
      {429, {{"anthropic-ratelimit-input-tokens-reset", "2026-01-01T00:00:08Z"}}, "", 8'000},
      {429, {{"RateLimit-Reset", "14"}}, "", 14'000},
      {429, {{"RateLimit", "limit=10, remaining=0, reset=15"}}, "", 15'000},
      {429, {{"RateLimit", "\"default\";r=0;t=16"}}, "", 16'000},
      // What only looks like a wait.
      {429, {}, "Rate limit reached: 33 requests in 60 seconds", 0},
      {429, {}, "Please try again in 0s.", 0},
      {429, {}, "Please try again in a while", 0},
      {429, {}, "Please wait until your plan is renewed", 0},
      {500, {{"x-ratelimit-reset-requests", "1s"}}, "", 0},
  };
  for (const WaitRow& row : table) {
    HttpResponse head;
    head.status = row.status;
    head.headers = row.headers;
    const ServerError said = read_error_body(row.body);
    const Kind kind = row.status == 429 ? Kind::kRateLimit : Kind::kServer;
    EXPECT_EQ(asked_wait_ms(head, said, kind, kNow).value_or(0), row.wait_ms) << row.body;
  }
}

}  // namespace
}  // namespace tern
