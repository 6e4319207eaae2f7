#pragma once
// The seam to the network: one HTTP exchange at a time, its answer read as it comes.
//
// A Transport knows nothing of providers, retries or JSON; those stand on top of it. Tests put a scripted one in its place.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tern {

// Names compare without regard to case, as HTTP says.
using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method = "POST";
  std::string url;
  HttpHeaders headers;
  std::string body;
  // The compression that the answer may have ("gzip", "identity" for none). If it is named, an answer is unpacked whatever it has;
  // empty: bytes are delivered as they come.
  std::string accept_encoding;
  // Limits of time in milliseconds; 0: none.
  int32_t connect_timeout_ms = 10'000;  // until name, connection and TLS are ready
  // From the end of the upload until the answer's head begins. Servers read before they write: each
  // started 10 kB of the body adds a second.
  int32_t first_byte_timeout_ms = 60'000;
  int32_t idle_timeout_ms = 60'000;  // the longest silence within the upload or the answer
  int32_t total_timeout_ms = 0;      // from start to end
  // How many redirects are followed, GET and HEAD alone; the answer is the last one's. Authorization stays with the first
  // host, and none leads from https to http.
  int32_t max_redirects = 0;
  // Asked every 20 ms or more often, and whenever a signal comes; true ends the exchange and closes its connection.
  std::function<bool()> cancelled;
};

struct HttpResponse {
  int32_t status = 0;
  HttpHeaders headers;

  // The value of the last header of that name; null if there is none.
  [[nodiscard]] const std::string* header(std::string_view name) const;
};

// Why no whole answer came. Up to kTls the request has not been sent.
enum class HttpFailure {
  kNone,
  kRequest,  // the request makes no sense: a malformed address, a redirect that may not be followed
  kResolve,
  kConnect,
  kTls,
  kTimeout,
  kBroken,  // the connection broke off, or what came was not HTTP
  kCancelled,
};

// Which limit of time was exceeded.
enum class HttpLimit { kNone, kConnect, kFirstByte, kIdle, kTotal };

struct HttpOutcome {
  HttpResponse response;  // status 0: not even a head came
  HttpFailure failure = HttpFailure::kNone;
  std::string message =
      {};  // of a failure: names the host, never a path, a query or a header's value
  HttpLimit limit = HttpLimit::kNone;
  bool refused = false;  // nothing listens at this port
  bool sent = false;     // the whole request went out

  explicit operator bool() const noexcept { return failure == HttpFailure::kNone; }
};

class Transport {
 public:
  // Called with each piece of the body in order, cut wherever the network cut it; returning false ends the exchange.
  using BodySink = std::function<bool(const HttpResponse& head, std::string_view piece)>;

  virtual ~Transport() = default;
  // Sends `request` and delivers the body of the answer, whatever its status, to `sink` (none: the body is dropped). Returns
  // when the body has ended or the sink has ended it, which is no failure.
  virtual HttpOutcome exchange(const HttpRequest& request, const BodySink& sink) = 0;
};

}  // namespace tern
