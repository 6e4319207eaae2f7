#pragma once
// An API on the loopback that answers each request by the next line of a script.

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/loopback_server.h"

namespace tern::testing {

class ScriptedApi {
 public:
  // Answers one request, which has been read; false closes the connection.
  using Step = std::function<bool(Peer&)>;

  // The last step answers all further requests.
  explicit ScriptedApi(std::vector<Step> steps);

  std::string url(const std::string& path = "") const { return server_.url(path); }
  int connections() const { return server_.connections(); }
  // Head and body of each request so far.
  std::vector<std::string> requests() const;

 private:
  void serve(Peer& peer);

  std::vector<Step> steps_;
  mutable std::mutex mutex_;
  std::vector<std::string> requests_;
  LoopbackServer server_;  // last: it serves until it is gone
};

// "HTTP/1.1 <status>" with the body and a length.
ScriptedApi::Step says(const std::string& status, const std::string& body,
                       const std::string& headers = "");
// 200 with server-sent events, in one chunk.
ScriptedApi::Step streams(const std::string& events, const std::string& headers = "");
// These bytes and nothing else, and then the end of the connection.
ScriptedApi::Step sends(const std::string& bytes);
// These bytes, and then silence until the client goes away.
ScriptedApi::Step sends_and_waits(const std::string& bytes);

// The head of an answer with events, and a piece of its body.
std::string events_head(const std::string& headers = "");
std::string chunked(std::string_view piece);

// One event with a piece of text, and what ends a stream, with and without a usage.
std::string text_event(const std::string& text);
std::string stop_event();
std::string usage_event(int prompt_tokens, int completion_tokens);
std::string done_event();

// The body of a request as it was read.
std::string body_of(const std::string& request);

}  // namespace tern::testing
