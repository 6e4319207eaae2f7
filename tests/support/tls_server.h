#pragma once
// A server with a certificate that nobody trusts.

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include <string>

#include "tests/support/temp_folder.h"

namespace tern::testing {

// `openssl s_server` with a certificate of its own making, valid for localhost.
class TlsServer {
 public:
  explicit TlsServer(const TempFolder& folder)
      : certificate_((folder / "certificate.pem").string()) {
    const std::string key = (folder / "key.pem").string();
    const std::string make =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        "-subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout '" +
        key + "' -out '" + certificate_ + "' 2>/dev/null";
    if (::system(make.c_str()) != 0) {
      return;
    }
    const std::string serve = "exec openssl s_server -accept 127.0.0.1:0 -www -key '" + key +
                              "' -cert '" + certificate_ + "' 2>/dev/null & echo PID $!; wait";
    output_ = ::popen(serve.c_str(), "r");
    char line[256];
    while (output_ != nullptr && port_ == 0 && ::fgets(line, sizeof line, output_) != nullptr) {
      const std::string text = line;
      if (text.starts_with("PID ")) {
        pid_ = std::stoi(text.substr(4));
      } else if (text.starts_with("ACCEPT ")) {
        port_ = std::stoi(text.substr(text.rfind(':') + 1));
      }
    }
  }
  TlsServer(const TlsServer&) = delete;
  TlsServer& operator=(const TlsServer&) = delete;
  ~TlsServer() {
    if (pid_ > 0) {
      ::kill(pid_, SIGTERM);
    }
    if (output_ != nullptr) {
      ::pclose(output_);
    }
  }

  int port() const { return port_; }
  const std::string& certificate() const { return certificate_; }

 private:
  std::string certificate_;
  FILE* output_ = nullptr;
  pid_t pid_ = 0;
  int port_ = 0;
};

}  // namespace tern::testing
