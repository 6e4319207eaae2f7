#include "tests/support/scripted_api.h"

#include <algorithm>
#include <cstdio>

namespace tern::testing {

ScriptedApi::ScriptedApi(std::vector<Step> steps)
    : steps_(std::move(steps)), server_([this](Peer& peer) { serve(peer); }) {}

std::vector<std::string> ScriptedApi::requests() const {
  const std::scoped_lock lock(mutex_);
  return requests_;
}

void ScriptedApi::serve(Peer& peer) {
  for (;;) {
    std::string request = peer.read_request();
    if (request.empty()) {
      return;
    }
    size_t count = 0;
    {
      const std::scoped_lock lock(mutex_);
      count = requests_.size();
      requests_.push_back(std::move(request));
    }
    if (!steps_[std::min(count, steps_.size() - 1)](peer)) {
      return;
    }
  }
}

ScriptedApi::Step says(const std::string& status, const std::string& body,
                       const std::string& headers) {
  return [bytes = answer(status, body, headers)](Peer& peer) {
    peer.send(bytes);
    return true;
  };
}

ScriptedApi::Step streams(const std::string& events, const std::string& headers) {
  return [bytes = events_head(headers) + chunked(events) + chunked("")](Peer& peer) {
    peer.send(bytes);
    return true;
  };
}

ScriptedApi::Step sends(const std::string& bytes) {
  return [bytes](Peer& peer) {
    peer.send(bytes);
    return false;
  };
}

ScriptedApi::Step sends_and_waits(const std::string& bytes) {
  return [bytes](Peer& peer) {
    peer.send(bytes);
    peer.closed_within(10);
    return false;
  };
}

std::string events_head(const std::string& headers) {
  return "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n" +
         headers + "\r\n";
}

std::string chunked(std::string_view piece) {
  char size[32];
  std::snprintf(size, sizeof size, "%zx\r\n", piece.size());
  return size + std::string(piece) + "\r\n";
}

std::string text_event(const std::string& text) {
  return R"(data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"served-model",)"
         R"("choices":[{"index":0,"delta":{"content":")" +
         text + "\"},\"finish_reason\":null}]}\n\n";
}

std::string stop_event() {
  return R"(data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]})"
         "\n\n";
}

std::string usage_event(int prompt_tokens, int completion_tokens) {
  return R"(data: {"choices":[],"usage":{"prompt_tokens":)" + std::to_string(prompt_tokens) +
         R"(,"completion_tokens":)" + std::to_string(completion_tokens) + "}}\n\n";
}

std::string done_event() {
  return "data: [DONE]\n\n";
}

std::string body_of(const std::string& request) {
  const size_t end = request.find("\r\n\r\n");
  return end == std::string::npos ? "" : request.substr(end + 4);
}

}  // namespace tern::testing
