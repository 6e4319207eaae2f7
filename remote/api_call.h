#pragma once
// One call of a provider's API. Its attempts share a deadline, a caller who may cancel, and the place that errors name; the only retry
// loop is here.

#include <functional>
#include <optional>
#include <string>

#include "remote/api_error.h"
#include "remote/remote_completer.h"

namespace tern {

// What a provider is asked with.
struct ApiParties {
  Transport& transport;
  Clock& clock;
  const Provider& provider;
  const ApiKey& key;
  const std::function<double()>& jitter;
};

class ApiCall {
 public:
  struct Failure {
    ApiError error;
    std::optional<bool> asked_to_retry;  // by the server
    bool hopeless = false;
    bool refused = false;  // in the server's own words
  };
  // None: it went well.
  using Attempt = std::function<std::optional<Failure>()>;

  struct Answer {
    HttpOutcome http;
    std::string refusal;  // the body, if the status is not 2xx
  };

  // Ends before `deadline_ms` (0: none) and within `limit_ms` (0: none) from now.
  ApiCall(const ApiParties& parties, const Sinks& sinks, const std::string& model,
          int64_t deadline_ms, int64_t limit_ms);

  std::optional<ApiError> repeat(const Attempt& attempt, int32_t retries);

  // A request with the key, the limits of time and nothing to send.
  HttpRequest request(const std::string& method, const std::string& url) const;
  // `body` gets what comes under 2xx; `enough` is asked whether the rest may be left.
  std::optional<Failure> exchange(HttpRequest http, const Transport::BodySink& body,
                                  const std::function<bool()>& enough, Answer& answer);
  // The whole body of an answer with 2xx.
  std::optional<Failure> fetch(HttpRequest http, std::string& body, std::string& request_id);

  Failure own(const HttpResponse& head, ApiErrorClass kind, const std::string& words) const;
  Failure not_whole(const HttpResponse& head, const std::string& words) const;
  Failure refused(const HttpResponse& head, const ServerError& said) const;
  Failure broken(const HttpOutcome& outcome) const;

  const Sinks& sinks() const { return sinks_; }
  int64_t now_ms() const { return parties_.clock.monotonic_ms(); }
  double seconds_since_start() const;
  // Failed attempts whose request went out whole, and which the server did not refuse before any text came.
  int32_t unanswered() const { return unanswered_; }

 private:
  bool check_cancelled();
  std::optional<Failure> obstacle(const std::string& url);
  ErrorPlace place() const;

  ApiParties parties_;
  const Sinks& sinks_;
  const std::string& model_;
  int64_t started_ms_;
  int64_t deadline_ms_;  // 0: none
  bool cancelled_ = false;
  bool sent_ = false;  // the latest exchange's request went out whole
  int32_t unanswered_ = 0;
};

}  // namespace tern
