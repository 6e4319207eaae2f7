#pragma once
// The Transport over libcurl, and the only code that knows it.
//
// What it never does: leave a certificate unchecked, send Authorization to another host than the one asked, or put a path, a
// query or a header into a message. What the environment decides: HTTPS_PROXY, http_proxy, NO_PROXY as curl reads them (never for the loopback), and
// CURL_CA_BUNDLE or SSL_CERT_FILE, SSL_CERT_DIR for the authorities to trust.

#include <memory>
#include <string>

#include "remote/transport.h"

namespace tern {

class CurlTransport final : public Transport {
 public:
  explicit CurlTransport(std::string user_agent);
  ~CurlTransport() override;

  // May be called from several threads at once. Connections are kept and used again.
  HttpOutcome exchange(const HttpRequest& request, const BodySink& sink) override;

 private:
  class Pool;
  std::unique_ptr<Pool> pool_;
  std::string user_agent_;
};

}  // namespace tern
