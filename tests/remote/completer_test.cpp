// One provider over real sockets: what is sent, what comes back, and every fault on the way.

#include "remote/remote_completer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <nlohmann/json.hpp>
#include <thread>

#include "remote/api_error.h"
#include "remote/curl_transport.h"
#include "remote/system_clock.h"
#include "tests/support/fake_clock.h"
#include "tests/support/scripted_api.h"
#include "tests/support/tls_server.h"
#include "tests/support/variable.h"

namespace tern {
namespace {

using namespace testing;  // NOLINT: the support of tests
using Json = nlohmann::json;
using Kind = ApiErrorClass;

const ApiKey kKey{"cr_SECRETSECRETSECRETwxyz", "the environment variable HOLYSHEEP_API_KEY", {}};

Provider provider_at(const std::string& url) {
  Provider provider;
  provider.name = "holysheep";
  provider.base_url = url;
  return provider;
}

Request request_of(const std::string& text) {
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

const std::string kHello =
    text_event("Hello") + text_event(", you") + stop_event() + usage_event(12, 3) + done_event();

void expect_hello(const Called& called) {
  ASSERT_TRUE(called.outcome) << called.outcome.error->message;
  EXPECT_EQ(called.text, "Hello, you");
  EXPECT_EQ(called.outcome.completion.text, "Hello, you");
  EXPECT_EQ(called.outcome.completion.reason, StopReason::kEndOfText);
}

void expect_error(const Called& called, Kind kind, const std::string& words) {
  ASSERT_TRUE(called.outcome.error);
  EXPECT_STREQ(name_of(called.outcome.error->kind), name_of(kind)) << called.outcome.error->message;
  EXPECT_NE(called.outcome.error->message.find(words), std::string::npos)
      << called.outcome.error->message;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TEST(Completer, StreamsAndSaysWhoServed) {
  Client client({streams(kHello, "X-Request-Id: req-7\r\n")});
  for (int i = 0; i < 2; ++i) {
    const Called called = client.call();
    expect_hello(called);
    const Completion& completion = called.outcome.completion;
    EXPECT_EQ(completion.usage.prompt_tokens, 12);
    EXPECT_EQ(completion.usage.completion_tokens, 3);
    EXPECT_FALSE(completion.usage.estimated);
    EXPECT_EQ(completion.served.provider, "holysheep");
    EXPECT_EQ(completion.served.model, "served-model");
    EXPECT_EQ(completion.served.request_id, "req-7");
    EXPECT_EQ(called.notices, "");
  }
  EXPECT_EQ(client.api.connections(), 1);  // the second used it again
  const std::string asked = client.api.requests()[0];
  EXPECT_TRUE(asked.starts_with("POST /v1/chat/completions HTTP/1.1\r\n")) << asked;
  for (const char* header :
       {"\r\nAuthorization: Bearer cr_SECRETSECRETSECRETwxyz\r\n",
        "\r\nContent-Type: application/json\r\n", "\r\nAccept: text/event-stream\r\n",
        "\r\nAccept-Encoding: identity\r\n"}) {
    EXPECT_NE(asked.find(header), std::string::npos) << asked;
  }
  EXPECT_EQ(
      Json::parse(body_of(asked)),
      Json::parse(
          R"({"model":"deepseek-v3.2","messages":[{"role":"user","content":"Hi"}],"stream":true,
                "stream_options":{"include_usage":true}})"));
}

TEST(Completer, DeliversPiecesAsTheyCome) {
  std::promise<void> seen;
  ScriptedApi api({[&](Peer& peer) {
    peer.closed_within(0.02);
    peer.send(events_head() + chunked(text_event("first")));
    // The rest goes out only once the first piece has arrived.
    EXPECT_EQ(seen.get_future().wait_for(std::chrono::seconds(5)), std::future_status::ready);
    peer.send(chunked(text_event("second") + done_event()) + chunked(""));
    return true;
  }});
  CurlTransport transport("t");
  SystemClock clock;
  RemoteCompleter completer(transport, clock, provider_at(api.url()), {});
  std::string text;
  Sinks sinks;
  sinks.text = [&](std::string_view piece) {
    if (text.empty()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      seen.set_value();
    }
    text += piece;
    return true;
  };
  const ApiOutcome outcome = completer.complete(request_of("Hi"), "m", sinks);
  ASSERT_TRUE(outcome) << outcome.error->message;
  EXPECT_EQ(text, "firstsecond");
  EXPECT_GT(outcome.completion.usage.first_token_seconds, 0);
  EXPECT_GE(outcome.completion.usage.generation_seconds, 0.015);
  EXPECT_TRUE(outcome.completion.usage.estimated);
  EXPECT_EQ(api.requests()[0].find("Authorization"), std::string::npos);
}

constexpr char kPlain[] =
    R"({"id":"c-1","model":"m-9","choices":[{"index":0,"message":{"role":"assistant","content":"Hello, you"},"finish_reason":"stop"}],)"
    R"("usage":{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15}})";

TEST(Completer, AsksForPlainAnswersToo) {
  Client client({says("200 OK", kPlain, "Content-Type: application/json\r\n")});
  const Called called = client.call(request_of("Hi"), /*plain=*/true);
  expect_hello(called);
  EXPECT_EQ(called.outcome.completion.usage.prompt_tokens, 12);
  EXPECT_EQ(called.outcome.completion.served.request_id, "c-1");
  EXPECT_EQ(
      Json::parse(body_of(client.api.requests()[0])),
      Json::parse(R"({"model":"deepseek-v3.2","messages":[{"role":"user","content":"Hi"}]})"));
}

TEST(Completer, TakesEventsForJsonAndJsonForEvents) {
  Client events({streams(kHello)});
  expect_hello(events.call(request_of("Hi"), /*plain=*/true));
  Client json({says("200 OK", kPlain, "Content-Type: text/event-stream\r\n")});
  expect_hello(json.call());
  Client responses({streams(
      "event: response.output_text.delta\n"
      R"(data: {"type":"response.output_text.delta","delta":"Hello, you"})"
      "\n\n"
      R"(data: {"type":"response.completed","response":{"status":"completed","usage":{"input_tokens":1,"output_tokens":2}}})"
      "\n\n")});
  expect_hello(responses.call(request_of("Hi"), /*plain=*/true));
}

// Made by Python's gzip module from a completion that says "zipped" four times.
constexpr char kZipped[] =
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\x6d\xca\x31\x0e\xc3\x20\x10\x44\xd1\xab"
    "\x44\x53\x53\xb8\xe6\x2a\x51\x64\x21\xd8\xc4\x2b\xd9\xbb\x88\xa1\xb0\x82\xb8\x7b"
    "\x38\x40\xaa\xf7\x8b\x3f\x90\x0f\xd7\x2c\x44\x7c\x0e\xa8\x15\xb9\x11\xb7\x80\x4b"
    "\xc8\xf4\x11\xc4\x81\xe6\xe7\x12\x89\x54\xf6\x64\x1d\x01\xd9\xad\xcb\xaa\x88\xaf"
    "\xd6\x2a\xe5\xf1\x0f\xcc\x80\xb7\x9a\xf2\xd8\x9b\x24\xba\xad\x9d\xdd\x2b\xe6\x6b"
    "\xfe\x00\xfb\xfc\x61\xac\x77\x00\x00\x00";

TEST(Completer, UnpacksGzip) {
  const std::string body(kZipped, sizeof kZipped - 1);
  Client client({says("200 OK", body, "Content-Encoding: gzip\r\n")});
  for (const bool plain : {true, false}) {
    const Called called = client.call(request_of("Hi"), plain);
    ASSERT_TRUE(called.outcome) << called.outcome.error->message;
    EXPECT_EQ(called.text, "zipped zipped zipped zipped");
  }
  EXPECT_NE(client.api.requests()[0].find("\r\nAccept-Encoding: gzip\r\n"), std::string::npos);
  Client cut({says("200 OK", body.substr(0, 60), "Content-Encoding: gzip\r\n")});
  expect_error(cut.call(), Kind::kProtocol, "no whole JSON");
}

TEST(Completer, SendsWhatIsSetAndWhatTheProviderTakes) {
  Request request = request_of("Hi");
  request.messages.insert(request.messages.begin(), {"system", "Be brief.", ""});
  request.messages.push_back({"assistant", "", R"({"tool_calls":[{"id":"a"}],"content":null})"});
  request.sampling.temperature = 0.7F;
  request.sampling.top_p = 0.9F;
  request.sampling.top_k = 20;
  request.sampling.min_p = 0.1F;
  request.sampling.repeat_penalty = 1.1F;
  request.sampling.repeat_last_n = 128;
  request.sampling.presence_penalty = 0.5F;
  request.sampling.frequency_penalty = -0.25F;
  request.sampling.seed = 42;
  request.sampling.logit_bias = {{7, -1e30F}, {9, 1.5F}};
  request.max_tokens = 512;
  request.stop = {"\n", "END"};
  request.ignore_eos = true;
  request.extra =
      R"({"response_format":{"type":"json_object"},"tools":[{"type":"function"}],"seed":43})";
  const char* kStandard =
      R"({"model":"deepseek-v3.2","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"},
      {"role":"assistant","content":null,"tool_calls":[{"id":"a"}]}],"temperature":0.7,"top_p":0.9,"presence_penalty":0.5,
      "frequency_penalty":-0.25,"seed":43,"logit_bias":{"7":-100.0,"9":1.5},"max_tokens":512,"stop":["\n","END"],
      "response_format":{"type":"json_object"},"tools":[{"type":"function"}]})";
  Client strict({says("200 OK", kPlain)});
  const Called told = strict.call(request, /*plain=*/true);
  expect_hello(told);
  EXPECT_EQ(Json::parse(body_of(strict.api.requests()[0])), Json::parse(kStandard));
  for (const char* name : {"top_k", "min_p", "repeat_penalty", "repeat_last_n", "ignore_eos"}) {
    EXPECT_NE(told.notices.find(std::string(name) + " is left out"), std::string::npos)
        << told.notices;
  }
  Provider provider;
  provider.name = "holysheep";
  provider.quirks.more_sampling = true;
  provider.quirks.max_completion_tokens = true;
  Client liberal({says("200 OK", kPlain)}, provider);
  const Called taken = liberal.call(request, /*plain=*/true);
  EXPECT_EQ(taken.notices, "");
  Json expected = Json::parse(kStandard);
  expected.erase("max_tokens");
  expected.update(Json::parse(
      R"({"top_k":20,"min_p":0.1,"repeat_penalty":1.1,"repetition_penalty":1.1,"repeat_last_n":128,
      "ignore_eos":true,"max_completion_tokens":512})"));
  EXPECT_EQ(Json::parse(body_of(liberal.api.requests()[0])), expected);
}

TEST(Completer, RefusesRequestsThatMakeNoSense) {
  Client client({says("200 OK", kPlain)});
  Request request = request_of("Hi");
  for (const char* extra : {"{", "[1]", "1", R"({"n":2})"}) {
    request.extra = extra;
    expect_error(client.call(request), Kind::kBadRequest, "expected");
  }
  request.extra.clear();
  request.local_only = true;
  expect_error(client.call(request), Kind::kBadRequest, "may not leave the machine");
  EXPECT_EQ(client.api.connections(), 0);
  // A prompt is a user's message, and what is no UTF-8 does not end the program.
  Request prompt;
  prompt.prompt = "a\xFF";
  expect_hello(client.call(prompt, /*plain=*/true));
  EXPECT_EQ(Json::parse(body_of(client.api.requests()[0]))["messages"],
            Json::parse("[{\"role\":\"user\",\"content\":\"a\xEF\xBF\xBD\"}]"));
}

struct Refusal {
  const char* status;
  const char* body;
  const char* headers;
  Kind kind;
  std::vector<int64_t> waits;  // before each further attempt
};

TEST(Completer, RepeatsByClassAndByTheServersWish) {
  const std::vector<int64_t> never;
  const std::vector<int64_t> twice = {500, 1000};
  const Refusal kRefusals[] = {
      {"401 Unauthorized", R"({"error":"Invalid API key"})", "", Kind::kAuth, never},
      {"402 Payment Required",
       R"({"error":{"type":"insufficient_quota","code":"daily_cost_limit_exceeded","message":"m"},"resetAt":"2026-01-01T00:00:30Z"})",
       "", Kind::kQuota, never},
      {"403 Forbidden", R"({"error":"Client not allowed"})", "", Kind::kPermission, never},
      {"403 Forbidden", R"({"error":"upstream_rate_limited"})", "", Kind::kRateLimit, twice},
      {"404 Not Found", R"({"error":{"code":"model_not_found"}})", "", Kind::kModelNotFound, never},
      {"400 Bad Request", R"({"error":{"code":"context_length_exceeded","message":"m"}})", "",
       Kind::kContextLength, never},
      {"400 Bad Request", R"({"error":{"code":"content_filter","message":"m"}})", "",
       Kind::kContentPolicy, never},
      {"400 Bad Request", "", "", Kind::kBadRequest, never},
      {"400 Bad Request", "", "x-should-retry: true\r\n", Kind::kBadRequest, twice},
      {"408 Request Timeout", "", "", Kind::kTimeout, twice},
      {"409 Conflict", "", "", Kind::kServer, twice},
      {"413 Payload Too Large", "", "", Kind::kContextLength, never},
      {"429 Too Many Requests",
       R"({"error":"Queue overloaded"})",
       "Retry-After: 3\r\n",
       Kind::kRateLimit,
       {3000, 3000}},
      {"429 Too Many Requests", "", "Retry-After-Ms: 70\r\n", Kind::kRateLimit, {70, 70}},
      {"429 Too Many Requests",
       "",
       "Retry-After: Thu, 01 Jan 2026 00:00:11 GMT\r\n",
       Kind::kRateLimit,
       {10'000, 500 * 2}},
      {"429 Too Many Requests",
       R"({"error":{"code":"rate_limit_exceeded","retry_after":1.2,"message":"m"}})",
       "",
       Kind::kRateLimit,
       {1200, 1200}},
      {"429 Too Many Requests",
       R"({"error":"Rate limit exceeded","remainingMinutes":1})",
       "",
       Kind::kRateLimit,
       {60'000, 60'000}},
      {"429 Too Many Requests", R"({"error":"Rate limit exceeded","remainingMinutes":3})", "",
       Kind::kRateLimit, never},
      {"429 Too Many Requests", "", "Retry-After: 121\r\n", Kind::kRateLimit, never},
      {"429 Too Many Requests",
       "",
       "x-ratelimit-reset: 1767225606\r\n",
       Kind::kRateLimit,
       {5000, 1000}},
      {"429 Too Many Requests", R"({"error":{"code":"insufficient_quota","message":"m"}})",
       "Retry-After: 1\r\n", Kind::kQuota, never},
      {"500 Internal Server Error", R"({"error":"x","requestId":"r"})", "", Kind::kServer, twice},
      {"500 Internal Server Error", "", "x-should-retry: false\r\n", Kind::kServer, never},
      {"502 Bad Gateway", "<html><title>502 Bad Gateway</title></html>", "", Kind::kServer, twice},
      {"503 Service Unavailable", "", "Retry-After: 8\r\n", Kind::kServer, {8000, 8000}},
      {"504 Gateway Timeout", "", "", Kind::kTimeout, twice},
      {"302 Found", "", "Location: https://elsewhere.example/\r\n", Kind::kProtocol, never},
      {"200 OK", R"({"error":{"message":"overloaded","code":503}})", "", Kind::kServer, twice},
      {"200 OK", R"({"error":{"message":"m","code":"insufficient_quota"}})", "", Kind::kQuota,
       never},
      {"200 OK", "", "", Kind::kProtocol, never},
      {"200 OK", "<html><title>Portal</title>", "", Kind::kProtocol, never},
  };
  for (const Refusal& refusal : kRefusals) {
    Client client({says(refusal.status, refusal.body, refusal.headers)});
    const Called called = client.call();
    const std::string where = std::string(refusal.status) + refusal.body + refusal.headers;
    ASSERT_TRUE(called.outcome.error) << where;
    EXPECT_STREQ(name_of(called.outcome.error->kind), name_of(refusal.kind)) << where;
    EXPECT_EQ(client.clock.waits, refusal.waits) << where;
    EXPECT_EQ(client.api.requests().size(), refusal.waits.size() + 1) << where;
    EXPECT_EQ(called.notices.empty(), refusal.waits.empty()) << called.notices;
  }
}

TEST(Completer, SucceedsAfterFailuresAndSaysSo) {
  Client client(
      {sends(answer("502 Bad Gateway", "<html><title>502</title>", "Connection: close\r\n")),
       sends(""), streams(kHello)});
  const Called called = client.call();
  expect_hello(called);
  EXPECT_EQ(client.clock.waits, (std::vector<int64_t>{500, 1000}));
  EXPECT_NE(called.notices.find("Trying again in 0.5 s."), std::string::npos) << called.notices;
}

TEST(Completer, NeverWaitsPastItsDeadline) {
  Client client({says("500 Internal Server Error", "")});
  expect_error(client.call(request_of("Hi"), false, client.clock.now_ms + 1499), Kind::kServer,
               "500");
  EXPECT_EQ(client.clock.waits, (std::vector<int64_t>{500}));
  expect_error(client.call(request_of("Hi"), false, client.clock.now_ms), Kind::kTimeout,
               "is over");
  EXPECT_EQ(client.api.requests().size(), 2U);
  // The time of an exchange counts too, and the provider's own limit.
  Provider slow;
  slow.name = "holysheep";
  slow.timeouts.total_ms = 150;
  Client mute({sends_and_waits("")}, slow);
  expect_error(mute.call(), Kind::kTimeout, "not finished within 0.1 s");
}

TEST(Completer, LimitsEachPhaseApart) {
  Provider hasty;
  hasty.name = "holysheep";
  hasty.retries = 1;
  hasty.timeouts.first_byte_ms = 120;
  hasty.timeouts.idle_ms = 200;
  Client mute({sends_and_waits("")}, hasty);
  expect_error(mute.call(), Kind::kTimeout, "no answer within 0.1 s");
  EXPECT_EQ(mute.api.requests().size(), 2U);
  // A stall before the first token is tried again; after it, what came is in the error.
  Client stalls_early({sends_and_waits(events_head() + chunked(": hold on\n\n")), streams(kHello)},
                      hasty);
  expect_hello(stalls_early.call());
  Client stalls({sends_and_waits(events_head() + chunked(text_event("Hel")))}, hasty);
  const Called half = stalls.call();
  expect_error(half, Kind::kTimeout, "silent for 0.2 s");
  EXPECT_EQ(half.text, "Hel");
  EXPECT_EQ(half.outcome.error->partial_text, "Hel");
  EXPECT_TRUE(half.outcome.error->delivered);
  EXPECT_EQ(stalls.api.requests().size(), 1U);
  // Once the text is whole a stall costs nothing but the count of tokens.
  Client stalls_late(
      {sends_and_waits(events_head() + chunked(text_event("Hello, you") + stop_event()))}, hasty);
  const Called whole = stalls_late.call();
  expect_hello(whole);
  EXPECT_TRUE(whole.outcome.completion.usage.estimated);
  // A plain answer takes as long as it takes to write.
  Client plain({[](Peer& peer) {
                 peer.closed_within(0.3);
                 peer.send(answer("200 OK", kPlain));
                 return true;
               }},
               hasty);
  expect_hello(plain.call(request_of("Hi"), /*plain=*/true));
}

TEST(Completer, LeavesServersThatNeverEndTheirStream) {
  ScriptedApi api({sends_and_waits(events_head() + chunked(kHello))});
  CurlTransport transport("t");
  SystemClock clock;
  RemoteCompleter completer(transport, clock, provider_at(api.url()), {});
  const auto start = std::chrono::steady_clock::now();
  const ApiOutcome outcome = completer.complete(request_of("Hi"), "m", {});
  ASSERT_TRUE(outcome) << outcome.error->message;
  EXPECT_EQ(outcome.completion.text, "Hello, you");
  EXPECT_LT(seconds_since(start), 5);
}

// A whole answer as it goes over the wire, with its length hidden in chunks that cut events, fields and a character.
std::string transcript() {
  const std::string events = ": hi\r\n\r\n" +
                             text_event(
                                 "Gr\xC3\xBC\xC3\x9F"
                                 "e") +
                             text_event("!") + stop_event() + usage_event(1, 2) + done_event();
  std::string bytes = events_head("X-Request-Id: r\r\n");
  for (size_t at = 0; at < events.size(); at += 37) {
    bytes += chunked(std::string_view(events).substr(at, 37));
  }
  return bytes + chunked("");
}

TEST(Completer, SurvivesACutAtEveryByteAndNeverTakesHalfForWhole) {
  const std::string whole = transcript();
  const std::string text =
      "Gr\xC3\xBC\xC3\x9F"
      "e!";
  std::atomic<size_t> size = 0;
  Provider once;
  once.name = "holysheep";
  once.retries = 0;
  Client client({[&](Peer& peer) {
                  peer.send(std::string_view(whole).substr(0, size));
                  return false;
                }},
                once);
  size_t complete = 0;
  for (; size <= whole.size(); ++size) {
    const Called called = client.call();
    EXPECT_TRUE(std::string_view(text).starts_with(called.text)) << size;
    if (called.outcome) {
      ++complete;
      EXPECT_EQ(called.text, text) << size;
      EXPECT_EQ(called.outcome.completion.text, text) << size;
    } else {
      EXPECT_EQ(called.outcome.error->partial_text, called.text) << size;
      EXPECT_EQ(called.outcome.error->delivered, !called.text.empty()) << size;
      EXPECT_TRUE(called.outcome.error->kind == Kind::kNetwork ||
                  called.outcome.error->kind == Kind::kProtocol)
          << size;
    }
  }
  // Everything from the blank line after the reason to end on.
  const size_t tail = usage_event(1, 2).size() + done_event().size();
  EXPECT_GE(complete, tail);
  EXPECT_LE(complete, tail + 60);
}

TEST(Completer, TakesLinesOfMegabytes) {
  const std::string huge(5'000'000, 'x');
  Client client({streams(text_event(huge) + done_event())});
  const Called called = client.call();
  ASSERT_TRUE(called.outcome) << called.outcome.error->message;
  EXPECT_EQ(called.text, huge);
}

TEST(Completer, CancellingClosesTheConnection) {
  std::promise<bool> closed;
  std::atomic<bool> asked = false;
  Client client({[&](Peer& peer) {
    peer.send(events_head() + chunked(text_event("Hel")));
    asked = true;
    closed.set_value(peer.closed_within(5));
    return false;
  }});
  Sinks sinks;
  std::string text;
  sinks.text = [&](std::string_view piece) {
    text += piece;
    return true;
  };
  sinks.cancelled = [&] { return asked && !text.empty(); };
  const ApiOutcome outcome = client.completer.complete(request_of("Hi"), "m", sinks);
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->kind, Kind::kCancelled);
  EXPECT_EQ(outcome.error->partial_text, "Hel");
  EXPECT_TRUE(closed.get_future().get());
  // While waiting to try again.
  Client busy({says("503 Service Unavailable", "")});
  bool waits = false;
  sinks.notice = [&](const std::string&) { waits = true; };
  sinks.cancelled = [&] { return waits; };
  const ApiOutcome waiting = busy.completer.complete(request_of("Hi"), "m", sinks);
  ASSERT_TRUE(waiting.error);
  EXPECT_EQ(waiting.error->kind, Kind::kCancelled);
  EXPECT_EQ(busy.api.requests().size(), 1U);
}

TEST(Completer, ASinkThatHasEnoughIsNoError) {
  std::promise<bool> closed;
  Client client({[&](Peer& peer) {
    peer.send(events_head() + chunked(text_event("Hel") + text_event("lo")));
    closed.set_value(peer.closed_within(5));
    return false;
  }});
  Sinks sinks;
  sinks.text = [](std::string_view) { return false; };
  const ApiOutcome outcome = client.completer.complete(request_of("Hi"), "m", sinks);
  ASSERT_TRUE(outcome) << outcome.error->message;
  EXPECT_EQ(outcome.completion.reason, StopReason::kCancelled);
  EXPECT_EQ(outcome.completion.text, "Hel");
  EXPECT_TRUE(closed.get_future().get());
}

TEST(Completer, LeavesOutWhatAServerRejectsAndRemembersIt) {
  Client client(
      {says("400 Bad Request",
            R"({"error":{"message":"Unrecognized request argument supplied: stream_options"}})"),
       streams(kHello)});
  for (int i = 0; i < 2; ++i) {
    expect_hello(client.call());
  }
  const std::vector<std::string> requests = client.api.requests();
  ASSERT_EQ(requests.size(), 3U);
  EXPECT_TRUE(Json::parse(body_of(requests[0])).contains("stream_options"));
  EXPECT_FALSE(Json::parse(body_of(requests[1])).contains("stream_options"));
  EXPECT_FALSE(Json::parse(body_of(requests[2])).contains("stream_options"));
  EXPECT_TRUE(client.clock.waits.empty());
  // Once: a server that goes on refusing is believed.
  Client stubborn({says(
      "422 Unprocessable Entity",
      R"({"detail":[{"loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]})")});
  expect_error(stubborn.call(), Kind::kBadRequest, "stream_options");
  EXPECT_EQ(stubborn.api.requests().size(), 2U);
  Client newer(
      {says(
           "400 Bad Request",
           R"({"error":{"message":"Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.","code":"unsupported_parameter"}})"),
       streams(kHello)});
  Request request = request_of("Hi");
  request.max_tokens = 5;
  expect_hello(newer.call(request));
  EXPECT_EQ(Json::parse(body_of(newer.api.requests()[1]))["max_completion_tokens"], 5);
}

TEST(Completer, CarriesNoKeyElsewhere) {
  ScriptedApi other({says("200 OK", kPlain)});
  Client redirected({says("307 Temporary Redirect", "",
                          "Location: " + other.url("/v1/chat/completions") + "\r\n")});
  expect_error(redirected.call(), Kind::kProtocol, "redirects");
  EXPECT_TRUE(redirected.completer.models().error);
  EXPECT_EQ(other.connections(), 0);
  // Nor over plain http to another machine, nor to a proxy that sits before this one.
  Variable proxy("http_proxy", other.url());
  CurlTransport transport("t");
  FakeClock clock;
  RemoteCompleter open(transport, clock, provider_at("http://api.example/v1"), kKey);
  const ApiOutcome refused = open.complete(request_of("Hi"), "m", {});
  ASSERT_TRUE(refused.error);
  EXPECT_NE(refused.error->message.find("plain http"), std::string::npos) << refused.error->message;
  Client near({streams(kHello)});
  expect_hello(near.call());
  EXPECT_EQ(other.connections(), 0);
}

TEST(Completer, TrustsNoWrongCertificate) {
  const TempFolder folder;
  const TlsServer server(folder);
  ASSERT_NE(server.port(), 0) << "the package openssl is needed";
  CurlTransport transport("t");
  FakeClock clock;
  RemoteCompleter completer(
      transport, clock, provider_at("https://localhost:" + std::to_string(server.port())), kKey);
  const ApiOutcome outcome = completer.complete(request_of("Hi"), "m", {});
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->kind, Kind::kNetwork);
  EXPECT_NE(outcome.error->message.find("SSL_CERT_FILE"), std::string::npos)
      << outcome.error->message;
  EXPECT_TRUE(clock.waits.empty());  // it would be as wrong the next time
}

TEST(Completer, ListsModelsAndChecksTheKeyWithThem) {
  Client client(
      {says(
           "200 OK",
           R"({"object":"list","data":[{"id":"deepseek-v3.2","owned_by":"deepseek"},{"id":"local","max_model_len":4096},{"no":1}]})"),
       says("401 Unauthorized", R"({"error":"Invalid API key"})"), says("200 OK", R"({"data":5})"),
       says("200 OK", R"({"balance":5})"), says("503 Service Unavailable", "")});
  const ModelsOutcome found = client.completer.models();
  ASSERT_FALSE(found.error) << found.error->message;
  ASSERT_EQ(found.models.size(), 2U);
  EXPECT_EQ(found.models[0].id, "deepseek-v3.2");
  EXPECT_EQ(found.models[0].owner, "deepseek");
  EXPECT_EQ(found.models[1].context, 4096);
  EXPECT_TRUE(client.api.requests()[0].starts_with("GET /v1/models HTTP/1.1\r\n"));
  EXPECT_EQ(client.completer.models().error->kind, Kind::kAuth);
  EXPECT_EQ(client.completer.models().error->kind, Kind::kProtocol);
  EXPECT_EQ(client.completer.get(client.api.url("/api/stats/overview")).body, R"({"balance":5})");
  EXPECT_EQ(client.completer.models().error->kind, Kind::kServer);
  EXPECT_EQ(client.api.requests().size(), 5U);  // one attempt each
}

TEST(Completer, EmbedsInTheOrderOfTheTexts) {
  Client client(
      {says("500 Internal Server Error", ""),
       says(
           "200 OK",
           R"({"model":"e-1","data":[{"index":1,"embedding":[3,4.5]},{"index":0,"embedding":[1,2]}],"usage":{"prompt_tokens":7}})"),
       says("200 OK", R"({"data":[{"index":0,"embedding":[1,2]}]})"),
       says("200 OK", R"({"data":[{"index":0,"embedding":[1,2]},{"index":0,"embedding":[1,2]}]})"),
       says("200 OK", R"({"data":[{"embedding":[1,2]},{"embedding":[1]}]})"),
       says("200 OK", R"({"data":[{"embedding":[1,2]},{"embedding":"AAAA"}]})")});
  const EmbeddingsOutcome outcome = client.completer.embed({"a", "b"}, "bge");
  ASSERT_FALSE(outcome.error) << outcome.error->message;
  EXPECT_EQ(outcome.vectors, (std::vector<std::vector<float>>{{1, 2}, {3, 4.5}}));
  EXPECT_EQ(outcome.usage.prompt_tokens, 7);
  EXPECT_EQ(outcome.served.model, "e-1");
  EXPECT_EQ(client.clock.waits, (std::vector<int64_t>{500}));
  EXPECT_EQ(Json::parse(body_of(client.api.requests()[1])),
            Json::parse(R"({"model":"bge","input":["a","b"],"encoding_format":"float"})"));
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(client.completer.embed({"a", "b"}, "bge").error->kind, Kind::kProtocol);
  }
}

TEST(Completer, ServesManyThreadsAtOnce) {
  Client client({streams(kHello)});
  std::vector<std::thread> threads;
  std::atomic<int> whole = 0;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 5; ++j) {
        const ApiOutcome outcome = client.completer.complete(request_of("Hi"), "m", {});
        whole += outcome && outcome.completion.text == "Hello, you" ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(whole, 40);
}

}  // namespace
}  // namespace tern
