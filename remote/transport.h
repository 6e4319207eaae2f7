#pragma once
// The seam to the network: one HTTPS exchange at a time, its answer read as it comes.
//
// A Transport knows nothing of providers, retries or JSON; those stand on top of it. Tests put a scripted one in its place.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/result.h"

namespace tern {

// Names compare without regard to case, as HTTP says.
using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method = "POST";
  std::string url;
  HttpHeaders headers;
  std::string body;
  int32_t connect_timeout_ms = 10'000;
  int32_t idle_timeout_ms = 60'000;  // the longest silence of the server; 0 = no limit
};

struct HttpResponse {
  int32_t status = 0;
  HttpHeaders headers;
};

class Transport {
 public:
  // Called with each piece of the body in order, cut wherever the network cut it; returning false ends the exchange.
  using BodySink = std::function<bool(const HttpResponse& head, std::string_view piece)>;

  virtual ~Transport() = default;
  // Sends `request` and delivers the body of the answer, whatever its status, to `sink`. Returns the head when the body has
  // ended or the sink has ended it. Errors: no answer, or one that broke off; each names the host, never a header's value.
  virtual Result<HttpResponse> exchange(const HttpRequest& request, const BodySink& sink) = 0;
};

}  // namespace tern
