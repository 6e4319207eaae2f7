// One provider over real sockets: refusals, stalls, cuts, and what must never happen.

#include <atomic>
#include <chrono>
#include <future>

#include "remote/system_clock.h"
#include "tests/remote/client.h"
#include "tests/remote/error_rows.h"
#include "tests/support/tls_server.h"
#include "tests/support/variable.h"

namespace tern {
namespace {

using namespace testing;  // NOLINT: the support of tests

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
      {"413 Payload Too Large", "", "", Kind::kBadRequest, never},
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
    // A refusal, also one with status 200, says that nothing was worked on.
    const bool refused = where.find("200 OK") != 0 || where.find("error") != std::string::npos;
    EXPECT_EQ(called.outcome.unanswered, refused ? 0 : 1) << where;
  }
}

// Over the wire the table means the same, streamed or not, and nothing is repeated that was not to be.
TEST(Completer, HearsEveryRowOfTheErrorTable) {
  Provider once;
  once.name = "holysheep";
  once.retries = 0;
  for (const ErrorRow& row : kErrorRows) {
    Client client({says(std::to_string(row.status) + " Status", row.body)}, once);
    for (const bool plain : {false, true}) {
      const Called called = client.call(request_of("Hi"), plain);
      expect_error(called, row.kind, row.said);
      EXPECT_EQ(called.outcome.error->status, row.status);
      EXPECT_EQ(called.text + called.outcome.error->partial_text, "");
      EXPECT_FALSE(called.outcome.error->delivered);
    }
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
  hasty.timeouts.first_byte_ms = 300;
  hasty.timeouts.idle_ms = 300;
  Client mute({sends_and_waits("")}, hasty);
  const Called silence = mute.call();
  expect_error(silence, Kind::kTimeout, "no answer within 0.3 s");
  EXPECT_EQ(mute.api.requests().size(), 2U);
  EXPECT_EQ(silence.outcome.unanswered, 2);  // both went out whole
  // A stall before the first token is tried again; after it, what came is in the error.
  Client stalls_early({sends_and_waits(events_head() + chunked(": hold on\n\n")), streams(kHello)},
                      hasty);
  const Called second = stalls_early.call();
  expect_hello(second);
  EXPECT_EQ(second.outcome.unanswered, 1);
  Client stalls({sends_and_waits(events_head() + chunked(text_event("Hel")))}, hasty);
  const Called half = stalls.call();
  expect_error(half, Kind::kTimeout, "silent for 0.3 s");
  EXPECT_EQ(half.text, "Hel");
  EXPECT_EQ(half.outcome.error->partial_text, "Hel");
  EXPECT_TRUE(half.outcome.error->delivered);
  EXPECT_EQ(stalls.api.requests().size(), 1U);
  // Comments are signs of life, however long they go on.
  Provider patient = hasty;
  patient.timeouts.idle_ms = 600;
  Client queued({[](Peer& peer) {
                  peer.send(events_head());
                  for (int i = 0; i < 15; ++i) {
                    peer.send(chunked(": you are in a queue\n\n"));
                    peer.closed_within(0.05);
                  }
                  peer.send(chunked(kHello) + chunked(""));
                  return true;
                }},
                patient);
  expect_hello(queued.call());
  EXPECT_EQ(queued.api.requests().size(), 1U);
  // Once the text is whole a stall costs nothing but the count of tokens.
  Client stalls_late(
      {sends_and_waits(events_head() + chunked(text_event("Hello, you") + stop_event()))}, hasty);
  const Called whole = stalls_late.call();
  expect_hello(whole);
  EXPECT_TRUE(whole.outcome.completion.usage.estimated);
  // A plain answer takes as long as it takes to write.
  Client plain({[](Peer& peer) {
                 peer.closed_within(0.4);
                 peer.send(answer("200 OK", kPlainHello));
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

TEST(Completer, CarriesNoKeyElsewhere) {
  ScriptedApi other({says("200 OK", kPlainHello)});
  Client redirected({says("307 Temporary Redirect", "",
                          "Location: " + other.url("/v1/chat/completions") + "\r\n")});
  const Called sent_on = redirected.call();
  expect_error(sent_on, Kind::kProtocol, "it redirects to " + other.url("/v1/chat/completions"));
  EXPECT_TRUE(sent_on.outcome.error->settings);
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

// Text that came is no reason to doubt the base URL.
TEST(Completer, ABrokenAnswerIsNotAskedForItsAddress) {
  Client client({sends(events_head() + chunked(text_event("Hel"))),
                 streams(text_event("Hel") + "data: {\"choices\": [\n\n"),
                 says("200 OK", "<html><title>Welcome</title></html>")});
  for (const bool text_came : {true, true, false}) {
    const Called called = client.call();
    ASSERT_TRUE(called.outcome.error);
    EXPECT_EQ(called.outcome.error->message.find("base URL") == std::string::npos, text_came)
        << called.outcome.error->message;
  }
}

TEST(Completer, TrustsNoWrongCertificate) {
  const TempFolder folder;
  const TlsServer server(folder);
  ASSERT_NE(server.port(), 0) << "the package openssl is needed";
  CurlTransport transport("t");
  FakeClock clock;
  RemoteCompleter completer(
      transport, clock, provider_at("https://localhost:" + std::to_string(server.port())), kKey);
  const Variable no_bundle("CURL_CA_BUNDLE", "");
  const ApiOutcome outcome = completer.complete(request_of("Hi"), "m", {});
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->kind, Kind::kNetwork);
  EXPECT_NE(outcome.error->message.find("SSL_CERT_FILE"), std::string::npos)
      << outcome.error->message;
  EXPECT_TRUE(clock.waits.empty());  // it would be as wrong the next time
  EXPECT_TRUE(outcome.error->settings);
  // Advice on SSL_CERT_FILE is of no use where CURL_CA_BUNDLE comes before it.
  const Variable bundle("CURL_CA_BUNDLE", "/etc/ssl/certs/ca-certificates.crt");
  const ApiOutcome other = completer.complete(request_of("Hi"), "m", {});
  ASSERT_TRUE(other.error);
  EXPECT_NE(other.error->message.find("CURL_CA_BUNDLE"), std::string::npos) << other.error->message;
  EXPECT_EQ(other.error->message.find("SSL_CERT_FILE"), std::string::npos);
}

}  // namespace
}  // namespace tern
