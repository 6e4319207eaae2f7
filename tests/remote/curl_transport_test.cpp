// The transport against servers on the loopback that answer, stall, cut, redirect and present certificates.

#include "remote/curl_transport.h"

#include <gtest/gtest.h>
#include <cstdio>
#include <cstdlib>

#include <chrono>
#include <future>
#include <optional>

#include "remote/digest.h"
#include "tests/support/loopback_server.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tls_server.h"
#include "tests/support/variable.h"

namespace tern {
namespace {

using testing::answer;
using testing::LoopbackServer;
using testing::Peer;
using testing::TlsServer;
using testing::Variable;

constexpr char kSecret[] = "hf_abcdefgh12345678";

// The loopback must be reached whatever proxy serves this machine.
const bool kNoProxies = [] {
  for (const char* name : {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"}) {
    ::unsetenv(name);
  }
  return true;
}();

HttpRequest get(const std::string& url) {
  HttpRequest request;
  request.method = "GET";
  request.url = url;
  return request;
}

// The exchange's outcome and all of the body that came.
struct Fetched {
  HttpOutcome outcome;
  std::string body;
};

Fetched fetch(const HttpRequest& request, Transport* transport = nullptr) {
  CurlTransport fresh("tern-test");
  Fetched fetched;
  fetched.outcome = (transport != nullptr ? *transport : fresh)
                        .exchange(request, [&](const HttpResponse& head, std::string_view piece) {
                          EXPECT_NE(head.status, 0);
                          fetched.body += piece;
                          return true;
                        });
  return fetched;
}

void expect_failure(const HttpOutcome& outcome, HttpFailure failure, const std::string& words) {
  EXPECT_EQ(outcome.failure, failure) << outcome.message;
  EXPECT_NE(outcome.message.find(words), std::string::npos) << outcome.message;
  for (const char* secret : {kSecret, "/path", "query"}) {
    EXPECT_EQ(outcome.message.find(secret), std::string::npos) << outcome.message;
  }
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TEST(CurlTransport, DeliversHeadAndBodyWhateverTheStatus) {
  LoopbackServer server([](Peer& peer) {
    peer.read_request();
    peer.send(answer("503 Busy", "wait a little", "X-Thing: first\r\nx-thing:  second \r\n"));
  });
  const Fetched fetched = fetch(get(server.url()));
  ASSERT_TRUE(fetched.outcome) << fetched.outcome.message;
  EXPECT_EQ(fetched.outcome.response.status, 503);
  EXPECT_EQ(fetched.body, "wait a little");
  ASSERT_NE(fetched.outcome.response.header("X-THING"), nullptr);
  EXPECT_EQ(*fetched.outcome.response.header("X-THING"), "second");
  EXPECT_EQ(fetched.outcome.response.header("X-Other"), nullptr);
}

TEST(CurlTransport, SendsMethodHeadersAndBody) {
  std::string seen;
  {
    LoopbackServer server([&](Peer& peer) {
      seen = peer.read_request();
      peer.send(answer("200 OK", ""));
    });
    HttpRequest request;
    request.url = server.url("/v1/chat");
    request.headers = {{"Content-Type", "application/json"}, {"Authorization", "Bearer abc"}};
    request.body = std::string("{\"a\":\0 1}", 9) + std::string(3'000'000, 'x');
    ASSERT_TRUE(fetch(request).outcome);
    EXPECT_TRUE(seen.ends_with(request.body));
  }
  const std::string head = seen.substr(0, seen.find("\r\n\r\n"));
  EXPECT_TRUE(head.starts_with("POST /v1/chat HTTP/1.1\r\n")) << head;
  for (const char* line : {"\r\nContent-Type: application/json", "\r\nAuthorization: Bearer abc",
                           "\r\nUser-Agent: tern-test", "\r\nContent-Length: 3000009"}) {
    EXPECT_NE(head.find(line), std::string::npos) << head;
  }
  EXPECT_EQ(head.find("Expect"), std::string::npos) << head;
}

TEST(CurlTransport, AsksForHeadsWithoutWaitingForABody) {
  std::string seen;
  HttpOutcome outcome;
  {
    LoopbackServer server([&](Peer& peer) {
      seen = peer.read_request();
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: \"x\"\r\n\r\n");
      peer.closed_within(1);
    });
    HttpRequest request = get(server.url());
    request.method = "HEAD";
    outcome = fetch(request).outcome;
  }
  ASSERT_TRUE(outcome) << outcome.message;
  EXPECT_TRUE(seen.starts_with("HEAD /"));
  EXPECT_EQ(*outcome.response.header("etag"), "\"x\"");
}

TEST(CurlTransport, RefusesLineBreaksInHeaders) {
  HttpRequest request = get("http://127.0.0.1:1/path?query");
  request.headers = {{"Authorization", std::string("Bearer ") + kSecret + "\r\nX-More: 1"}};
  expect_failure(fetch(request).outcome, HttpFailure::kRequest, "line break");
}

TEST(CurlTransport, StreamsPiecesAsTheyCome) {
  std::promise<void> first_seen;
  LoopbackServer server([&](Peer& peer) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    // The rest is sent only once the first piece has arrived: a transport that collects would wait for ever.
    EXPECT_EQ(first_seen.get_future().wait_for(std::chrono::seconds(5)), std::future_status::ready);
    peer.send("6\r\nsecond\r\n0\r\n\r\n");
  });
  CurlTransport transport("t");
  std::string body;
  const HttpOutcome outcome =
      transport.exchange(get(server.url()), [&](const HttpResponse&, std::string_view piece) {
        if (body.empty()) {
          first_seen.set_value();
        }
        body += piece;
        return true;
      });
  ASSERT_TRUE(outcome) << outcome.message;
  EXPECT_EQ(body, "firstsecond");
}

TEST(CurlTransport, SinkEndsTheExchangeAndTheConnection) {
  std::promise<bool> closed;
  LoopbackServer server([&](Peer& peer) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nenough");
    closed.set_value(peer.closed_within(5));
  });
  CurlTransport transport("t");
  const HttpOutcome outcome = transport.exchange(
      get(server.url()), [](const HttpResponse&, std::string_view) { return false; });
  EXPECT_TRUE(outcome) << outcome.message;
  EXPECT_EQ(outcome.response.status, 200);
  EXPECT_TRUE(closed.get_future().get());
}

TEST(CurlTransport, CancellingClosesTheConnectionAtOnce) {
  std::promise<bool> closed;
  std::atomic<bool> asked = false;
  LoopbackServer server([&](Peer& peer) {
    peer.read_request();
    asked = true;
    closed.set_value(peer.closed_within(5));  // never answers
  });
  HttpRequest request = get(server.url());
  request.cancelled = [&] { return asked.load(); };
  CurlTransport transport("t");
  const auto start = std::chrono::steady_clock::now();
  const HttpOutcome outcome = transport.exchange(request, {});
  expect_failure(outcome, HttpFailure::kCancelled, "cancelled");
  EXPECT_TRUE(closed.get_future().get());  // while the transport itself lives on
  EXPECT_LT(seconds_since(start), 4);
}

TEST(CurlTransport, KeepsConnections) {
  LoopbackServer server([](Peer& peer) {
    while (!peer.read_request().empty()) {
      peer.send(answer("200 OK", "x"));
    }
  });
  {
    CurlTransport transport("t");
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(fetch(get(server.url()), &transport).body, "x");
    }
  }
  EXPECT_EQ(server.connections(), 1);
}

TEST(CurlTransport, TimesEachPhaseApart) {
  LoopbackServer mute([](Peer& peer) {
    peer.read_request();
    peer.closed_within(5);
  });
  HttpRequest request = get(mute.url("/path?query"));
  request.first_byte_timeout_ms = 150;
  const HttpOutcome mute_outcome = fetch(request).outcome;
  expect_failure(mute_outcome, HttpFailure::kTimeout, "no answer within 0.1 s");
  EXPECT_EQ(mute_outcome.limit, HttpLimit::kFirstByte);

  LoopbackServer stalls([](Peer& peer) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    peer.closed_within(5);
  });
  request = get(stalls.url("/path?query"));
  request.idle_timeout_ms = 200;
  const Fetched stalled = fetch(request);
  expect_failure(stalled.outcome, HttpFailure::kTimeout, "silent for 0.2 s");
  EXPECT_EQ(stalled.body, "half");
  EXPECT_EQ(stalled.outcome.response.status, 200);

  LoopbackServer trickles([](Peer& peer) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n");
    while (!peer.closed_within(0.02)) {
      peer.send(".");
    }
  });
  request = get(trickles.url("/path?query"));
  request.idle_timeout_ms = 5000;
  request.total_timeout_ms = 300;
  expect_failure(fetch(request).outcome, HttpFailure::kTimeout, "not finished within 0.3 s");
}

HttpRequest post(const std::string& url, size_t bytes) {
  HttpRequest request;
  request.url = url;
  request.body = std::string(bytes, 'x');
  return request;
}

// A slow line: the limit for the first byte begins when the request is out, and a line that stands
// still is told apart from it.
TEST(CurlTransport, AnUploadIsNoSilence) {
  // The limit is 2.3 s, two of them for the length. The first 4 kB take three seconds; what comes
  // behind them waits in the system of this side, which is not on the way yet.
  constexpr size_t kBody = 29'000;
  LoopbackServer slow(
      [](Peer& peer) {
        peer.read_slowly(4'000, 500, 375);
        peer.read_request();
        peer.send(answer("200 OK", "read"));
        peer.closed_within(5);
      },
      2'048);
  HttpRequest request = post(slow.url(), kBody);
  request.first_byte_timeout_ms = 300;
  request.idle_timeout_ms = 3'000;
  const Fetched fetched = fetch(request);
  ASSERT_TRUE(fetched.outcome) << fetched.outcome.message;
  EXPECT_EQ(fetched.body, "read");

  LoopbackServer stuck([](Peer& peer) { peer.read_slowly(1, 1, 1'000); }, 2'048);
  constexpr size_t kMore = size_t{16} << 20;  // more than the system takes in
  request = post(stuck.url(), kMore);
  request.first_byte_timeout_ms = 100;
  request.idle_timeout_ms = 300;
  const HttpOutcome outcome = fetch(request).outcome;
  expect_failure(outcome, HttpFailure::kTimeout, "nothing of the request could be sent for 0.3 s");
  EXPECT_EQ(outcome.limit, HttpLimit::kIdle);
}

TEST(CurlTransport, ReportsCutsWithWhatCame) {
  for (const bool reset : {false, true}) {
    LoopbackServer server([reset](Peer& peer) {
      peer.read_request();
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n12345");
      if (reset) {
        peer.reset();
      }
    });
    const Fetched fetched = fetch(get(server.url("/path?query")));
    expect_failure(fetched.outcome, HttpFailure::kBroken,
                   "127.0.0.1:" + std::to_string(server.port()));
    EXPECT_TRUE(reset || fetched.body == "12345");
  }
  LoopbackServer mute([](Peer& peer) { peer.read_request(); });
  expect_failure(fetch(get(mute.url("/path?query"))).outcome, HttpFailure::kBroken, "broke off");
  LoopbackServer babble([](Peer& peer) {
    peer.read_request();
    peer.send("220 mail.example ESMTP\r\n");
  });
  expect_failure(fetch(get(babble.url("/path?query"))).outcome, HttpFailure::kBroken, "broke off");
  LoopbackServer endless([](Peer& peer) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 500; ++i) {
      peer.send("X-" + std::to_string(i) + ": " + std::string(1000, 'x') + "\r\n");
    }
    peer.send("Content-Length: 0\r\n\r\n");
  });
  expect_failure(fetch(get(endless.url("/path?query"))).outcome, HttpFailure::kBroken, "broke off");
}

TEST(CurlTransport, NamesWhatFailedBeforeSending) {
  int port = 0;
  {
    LoopbackServer gone([](Peer&) {});
    port = gone.port();
  }
  expect_failure(fetch(get("http://127.0.0.1:" + std::to_string(port) + "/path?query")).outcome,
                 HttpFailure::kConnect, "no connection");
  expect_failure(fetch(get("http://no-such-host.invalid/path?query")).outcome,
                 HttpFailure::kResolve, "no-such-host.invalid");
  expect_failure(fetch(get("ftp://127.0.0.1/path?query")).outcome, HttpFailure::kRequest, "https");
  expect_failure(fetch(get("not an address/path?query")).outcome, HttpFailure::kRequest, "");
  expect_failure(
      fetch(get(std::string("http://user:") + kSecret + "@127.0.0.1/path?query")).outcome,
      HttpFailure::kRequest, "127.0.0.1");
}

// A redirect from one server to another: what the second is asked, and what comes back.
struct Redirected {
  Fetched fetched;
  std::string asked;
};

Redirected redirected(int max_redirects, const std::string& host) {
  Redirected result;
  LoopbackServer target([&](Peer& peer) {
    result.asked = peer.read_request();
    peer.send(answer("200 OK", "there", "X-Where: target\r\n"));
  });
  LoopbackServer first([&](Peer& peer) {
    const std::string request = peer.read_request();
    EXPECT_NE(request.find(kSecret), std::string::npos);
    peer.send(answer("302 Found", "moved",
                     "X-Linked-Etag: \"abc\"\r\nLocation: http://" + host + ":" +
                         std::to_string(target.port()) + "/there\r\n"));
  });
  HttpRequest request = get(first.url("/here"));
  request.headers = {{"Authorization", std::string("Bearer ") + kSecret}, {"Range", "bytes=5-"}};
  request.max_redirects = max_redirects;
  result.fetched = fetch(request);
  return result;
}

TEST(CurlTransport, FollowsRedirectsOnlyIfAskedAndWithoutCredentials) {
  const Redirected left = redirected(0, "127.0.0.1");
  EXPECT_EQ(left.fetched.outcome.response.status, 302);
  EXPECT_NE(left.fetched.outcome.response.header("X-Linked-Etag"), nullptr);
  EXPECT_EQ(left.asked, "");
  for (const char* host : {"127.0.0.1", "localhost"}) {  // another port, and another name
    const Redirected taken = redirected(3, host);
    ASSERT_TRUE(taken.fetched.outcome) << taken.fetched.outcome.message;
    EXPECT_EQ(taken.fetched.outcome.response.status, 200);
    EXPECT_EQ(taken.fetched.outcome.response.header("X-Linked-Etag"), nullptr);
    EXPECT_EQ(taken.fetched.body, "there");
    EXPECT_NE(taken.asked.find("Range: bytes=5-"), std::string::npos);
    EXPECT_EQ(taken.asked.find(kSecret), std::string::npos) << taken.asked;
    EXPECT_EQ(taken.asked.find("Authorization"), std::string::npos) << taken.asked;
  }
}

TEST(CurlTransport, KeepsCredentialsWithinAHostAndCountsRedirects) {
  LoopbackServer server([](Peer& peer) {
    for (std::string request; !(request = peer.read_request()).empty();) {
      EXPECT_NE(request.find(kSecret), std::string::npos);
      const bool there = request.starts_with("GET /there ");
      peer.send(there ? answer("200 OK", "there")
                      : answer("302 Found", "",
                               request.starts_with("GET /round ") ? "Location: /round\r\n"
                                                                  : "Location: /there\r\n"));
    }
  });
  HttpRequest request = get(server.url("/here"));
  request.headers = {{"Authorization", std::string("Bearer ") + kSecret}};
  request.max_redirects = 3;
  EXPECT_EQ(fetch(request).body, "there");
  request.url = server.url("/round");
  expect_failure(fetch(request).outcome, HttpFailure::kRequest, "redirect");
}

TEST(CurlTransport, TrustsOnlyCertificatesOfKnownAuthoritiesForTheRightName) {
  const Variable no_bundle("CURL_CA_BUNDLE", "");
  const testing::TempFolder folder;
  const TlsServer server(folder);
  ASSERT_NE(server.port(), 0) << "the package openssl is needed";
  const std::string port = std::to_string(server.port());
  expect_failure(fetch(get("https://localhost:" + port + "/path?query")).outcome, HttpFailure::kTls,
                 "SSL_CERT_FILE");
  for (const char* name : {"SSL_CERT_FILE", "CURL_CA_BUNDLE"}) {
    const Variable none("CURL_CA_BUNDLE", "");
    const Variable authorities(name, server.certificate());
    const Fetched fetched = fetch(get("https://localhost:" + port + "/path?query"));
    ASSERT_TRUE(fetched.outcome) << fetched.outcome.message;
    EXPECT_EQ(fetched.outcome.response.status, 200);
    EXPECT_NE(fetched.body.find("s_server"), std::string::npos);
    // The same certificate under another name.
    expect_failure(fetch(get("https://127.0.0.1:" + port + "/path?query")).outcome,
                   HttpFailure::kTls, "127.0.0.1");
  }
}

TEST(CurlTransport, UsesTheProxyOfTheEnvironment) {
  std::string asked;
  {
    LoopbackServer proxy([&](Peer& peer) {
      asked = peer.read_request();
      peer.send(answer("403 Forbidden", ""));
    });
    const Variable https_proxy("HTTPS_PROXY", proxy.url());
    const Variable lower_proxy("https_proxy", proxy.url());
    const Variable lower_no_proxy("no_proxy", "");
    HttpRequest request = get("https://hub.invalid/path?query");
    request.headers = {{"Authorization", std::string("Bearer ") + kSecret}};
    const HttpOutcome outcome = fetch(request).outcome;
    EXPECT_EQ(outcome.failure, HttpFailure::kConnect) << outcome.message;
    const Variable no_proxy("no_proxy", "hub.invalid");
    expect_failure(fetch(request).outcome, HttpFailure::kResolve, "hub.invalid");
  }
  EXPECT_TRUE(asked.starts_with("CONNECT hub.invalid:443 ")) << asked;
  EXPECT_EQ(asked.find(kSecret), std::string::npos) << asked;
}

// Published test vectors: FIPS 180-2 appendix B.1, and what `git hash-object` says of "hello\n".
TEST(Digest, IsThatOfThePublishedVectors) {
  Digest sha = Digest::sha256();
  sha.add("a");
  sha.add("bc");
  EXPECT_EQ(sha.finish(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Digest git = Digest::git_blob(6);
  git.add("hello\n");
  EXPECT_EQ(git.finish(), "ce013625030ba8dba906f756967f9e9ca394464a");
}

}  // namespace
}  // namespace tern
