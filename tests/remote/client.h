#pragma once
// A client of a scripted server, for the tests of the API client.

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "remote/api_error.h"
#include "remote/curl_transport.h"
#include "remote/remote_completer.h"
#include "tests/support/fake_clock.h"
#include "tests/support/scripted_api.h"

namespace tern::testing {

using Kind = ApiErrorClass;

inline const ApiKey kKey{
    "cr_SECRETSECRETSECRETwxyz", "the environment variable HOLYSHEEP_API_KEY", {}};

inline Provider provider_at(const std::string& url) {
  Provider provider;
  provider.name = "holysheep";
  provider.base_url = url;
  return provider;
}

inline Request request_of(const std::string& text) {
  Request request;
  request.messages.push_back({"user", text, ""});
  return request;
}

// A call, and all that anybody was told.
struct Called {
  ApiOutcome outcome;
  std::string text;
  std::string reasoning;
  std::string notices;
};

// A client of a scripted server, with a clock that waits no time.
struct Client {
  explicit Client(std::vector<ScriptedApi::Step> steps, const ApiKey& key = kKey)
      : api(std::move(steps)),
        completer(transport, clock, provider_at(api.url("/v1/")), key, no_jitter) {}
  Client(std::vector<ScriptedApi::Step> steps, const Provider& like)
      : api(std::move(steps)), completer(transport, clock, at(like, api), kKey, no_jitter) {}

  static double no_jitter() { return 0; }
  static Provider at(Provider provider, const ScriptedApi& api) {
    provider.base_url = api.url("/v1");
    return provider;
  }

  Called call(const Request& request = request_of("Hi"), bool plain = false,
              int64_t deadline_ms = 0) {
    Called called;
    Sinks sinks;
    sinks.plain = plain;
    sinks.text = [&](std::string_view piece) {
      called.text += piece;
      return true;
    };
    sinks.reasoning = [&](std::string_view piece) {
      called.reasoning += piece;
      return true;
    };
    sinks.notice = [&](const std::string& words) { called.notices += words + "\n"; };
    called.outcome = completer.complete(request, "deepseek-v3.2", sinks, deadline_ms);
    if (called.outcome.error) {
      EXPECT_EQ((called.outcome.error->message + called.notices).find("SECRET"), std::string::npos)
          << called.outcome.error->message;
      EXPECT_TRUE(called.outcome.error->message.starts_with("holysheep: "))
          << called.outcome.error->message;
    }
    return called;
  }

  ScriptedApi api;
  CurlTransport transport{"tern-test"};
  FakeClock clock;
  RemoteCompleter completer;
};

inline const std::string kHello =
    text_event("Hello") + text_event(", you") + stop_event() + usage_event(12, 3) + done_event();

// The same as one JSON answer.
inline constexpr char kPlainHello[] =
    R"({"id":"c-1","model":"m-9","choices":[{"index":0,"message":{"role":"assistant","content":"Hello, you"},"finish_reason":"stop"}],)"
    R"("usage":{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15}})";

inline void expect_hello(const Called& called) {
  ASSERT_TRUE(called.outcome) << called.outcome.error->message;
  EXPECT_EQ(called.text, "Hello, you");
  EXPECT_EQ(called.outcome.completion.text, "Hello, you");
  EXPECT_EQ(called.outcome.completion.reason, StopReason::kEndOfText);
}

inline void expect_error(const Called& called, Kind kind, const std::string& words) {
  ASSERT_TRUE(called.outcome.error);
  EXPECT_STREQ(name_of(called.outcome.error->kind), name_of(kind)) << called.outcome.error->message;
  EXPECT_NE(called.outcome.error->message.find(words), std::string::npos)
      << called.outcome.error->message;
}

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace tern::testing
