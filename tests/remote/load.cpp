// Many streams at once through the router: remote_load URL LEDGER STREAMS SECONDS
//
// The server answers with what the prompt says, so that a chunk that is lost, doubled or somebody else's is seen. Prints
// one JSON object; tests/e2e/remote_load.py compares it with what the server and the ledger counted.

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "engine/base/memory.h"
#include "remote/curl_transport.h"
#include "remote/router.h"
#include "remote/system_clock.h"

namespace {

using namespace tern;  // NOLINT: a program of its own

struct Counts {
  std::atomic<int64_t> whole = 0;
  std::atomic<int64_t> failed = 0;  // with what came being a beginning of the right text
  std::atomic<int64_t> wrong = 0;
};

std::string text_of(int stream, int call) {
  std::string text = "stream " + std::to_string(stream) + " call " + std::to_string(call);
  for (int i = 0; i < 20; ++i) {
    text += " " + std::to_string((call * 31 + i * 7) % 1000);
  }
  return text;
}

void run_stream(Router& router, Clock& clock, int stream, int64_t end, Counts& counts) {
  for (int call = 0; clock.monotonic_ms() < end; ++call) {
    const std::string text = text_of(stream, call);
    Request request;
    request.model = "m";
    request.max_tokens = 100;
    request.messages = {{"user", text, ""}};
    std::string came;
    Sinks sinks;
    sinks.text = [&](std::string_view piece) {
      came += piece;
      return true;
    };
    const ApiOutcome outcome = router.route(request, sinks);
    if (outcome) {
      ++(came == text && outcome.completion.text == text ? counts.whole : counts.wrong);
    } else {
      ++(text.starts_with(came) ? counts.failed : counts.wrong);
    }
  }
}

int run(const std::string& url, const std::string& path, int streams, int64_t seconds) {
  Result<Ledger> ledger = Ledger::open(path);
  RouterSetup setup;
  const auto added = add_providers(
      setup.providers, "load",
      R"({"chain": ["server"], "providers": [{"name": "server", "base_url": ")" + url +
          R"(", "models": [{"id": "m", "context": 1000, "price":
             {"in": 1, "out": 2, "date": "2026-01-01", "source": "test"}}]}]})");
  if (!ledger || !added) {
    std::fprintf(stderr, "%s\n", (!ledger ? ledger.error() : added.error()).message.c_str());
    return 2;
  }
  SystemClock clock;
  CurlTransport transport("tern-load");
  RemoteCompleter completer(transport, clock, *setup.providers.find("server"), ApiKey());
  setup.policy = parse_route("server", setup.providers).value();
  setup.policy.allow_remote = true;
  setup.backends["server"] = [&](const Request& request, const std::string& model,
                                 const Sinks& sinks, int64_t deadline) {
    return completer.complete(request, model, sinks, deadline);
  };
  Router router(std::move(setup), *ledger, clock);
  Counts counts;
  const int64_t end = clock.monotonic_ms() + seconds * 1000;
  std::vector<std::thread> threads;
  for (int i = 0; i < streams; ++i) {
    threads.emplace_back([&, i] { run_stream(router, clock, i, end, counts); });
  }
  // Half of the time is enough to reach the memory that it will have.
  clock.wait_ms(seconds * 500, {});
  const uint64_t half = resident_memory();
  for (std::thread& thread : threads) {
    thread.join();
  }
  std::printf(
      "{\"whole\": %lld, \"failed\": %lld, \"wrong\": %lld, \"half_bytes\": %llu, "
      "\"end_bytes\": %llu}\n",
      static_cast<long long>(counts.whole), static_cast<long long>(counts.failed),
      static_cast<long long>(counts.wrong), static_cast<unsigned long long>(half),
      static_cast<unsigned long long>(resident_memory()));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: remote_load URL LEDGER STREAMS SECONDS\n");
    return 2;
  }
  return run(argv[1], argv[2], std::atoi(argv[3]), std::atoi(argv[4]));
}
