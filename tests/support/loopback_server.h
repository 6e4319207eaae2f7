#pragma once
// A server on 127.0.0.1 whose every byte, pause and cut a test decides.

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace tern::testing {

// One accepted connection, in the hands of the test's handler.
class Peer {
 public:
  explicit Peer(int fd) : fd_(fd) {}

  // The next request, head and body (by Content-Length); empty once the client has gone.
  std::string read_request();
  void send(std::string_view bytes);
  // Takes so many bytes of the request in, `each` at a time with a pause behind them: a slow line.
  // read_request() has them then.
  void read_slowly(size_t bytes, size_t each, int pause_ms);
  // Ends the connection with a reset instead of an orderly end.
  void reset();
  // Waits until the client has closed its end. False after `seconds`.
  bool closed_within(double seconds);

 private:
  int fd_;
  std::string unread_;
};

class LoopbackServer {
 public:
  using Handler = std::function<void(Peer&)>;

  // `handler` runs once a connection, on a thread of its own; the connection closes when it returns.
  // `receive_buffer`: bytes that the system takes in before the handler reads; 0: as it likes.
  explicit LoopbackServer(Handler handler, int receive_buffer = 0);
  LoopbackServer(const LoopbackServer&) = delete;
  LoopbackServer& operator=(const LoopbackServer&) = delete;
  ~LoopbackServer();

  int port() const { return port_; }
  std::string url(const std::string& path = "/") const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }
  int connections() const { return connections_; }

 private:
  void accept_all();

  Handler handler_;
  int listener_;
  int port_;
  std::atomic<int> connections_ = 0;
  std::vector<std::thread> peers_;  // grown by the accepting thread alone
  std::thread acceptor_;
};

// "HTTP/1.1 <status>" with a length and the body.
std::string answer(std::string_view status, std::string_view body, std::string_view headers = "");

}  // namespace tern::testing
