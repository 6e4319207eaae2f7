#include "remote/api_call.h"

#include <algorithm>
#include <limits>

#include "remote/retry.h"
#include "remote/time_text.h"
#include "remote/url.h"

namespace tern {
namespace {

// Of an error's body this much is read: it may repeat the prompt, and must be whole to be understood.
constexpr size_t kMostRefusalBytes = size_t{256} << 10;
// Lists of models and embeddings are shorter.
constexpr size_t kMostBodyBytes = size_t{64} << 20;

}  // namespace

ApiCall::ApiCall(const ApiParties& parties, const Sinks& sinks, const std::string& model,
                 int64_t deadline_ms, int64_t limit_ms)
    : parties_(parties),
      sinks_(sinks),
      model_(model),
      started_ms_(parties.clock.monotonic_ms()),
      deadline_ms_(deadline_ms) {
  if (limit_ms > 0) {
    const int64_t end = started_ms_ + limit_ms;
    deadline_ms_ = deadline_ms == 0 ? end : std::min(end, deadline_ms);
  }
}

ErrorPlace ApiCall::place() const {
  return {parties_.provider.name,
          parties_.key,
          model_,
          parties_.clock.unix_ms(),
          parties_.provider.key_header,
          &parties_.provider.headers};
}

double ApiCall::seconds_since_start() const {
  return static_cast<double>(now_ms() - started_ms_) / 1000;
}

bool ApiCall::check_cancelled() {
  cancelled_ = cancelled_ || (sinks_.cancelled && sinks_.cancelled());
  return cancelled_;
}

ApiCall::Failure ApiCall::own(const HttpResponse& head, ApiErrorClass kind,
                              const std::string& words) const {
  return {own_error(place(), head, kind, words), {}, false, false};
}

ApiCall::Failure ApiCall::not_whole(const HttpResponse& head, const std::string& words) const {
  return {broken_answer(place(), head, words), {}, false};
}

ApiCall::Failure ApiCall::refused(const HttpResponse& head, const ServerError& said) const {
  return {refusal(place(), head, said), asked_to_retry(head), false, true};
}

ApiCall::Failure ApiCall::broken(const HttpOutcome& outcome) const {
  return {transport_error(place(), outcome),
          {},
          outcome.failure == HttpFailure::kTls || outcome.failure == HttpFailure::kRequest,
          false};
}

std::optional<ApiError> ApiCall::repeat(const Attempt& attempt, int32_t retries) {
  int64_t waited_as_asked = 0;
  for (int32_t count = 0;; ++count) {
    sent_ = false;
    std::optional<Failure> failure = attempt();
    if (!failure) {
      return {};
    }
    const bool declined = failure->refused && !failure->error.delivered;
    unanswered_ += sent_ && !declined ? 1 : 0;
    FailedAttempt failed;
    failed.attempt = count;
    failed.kind = failure->error.kind;
    failed.delivered = failure->error.delivered;
    failed.hopeless = failure->hopeless;
    failed.asked_to_retry = failure->asked_to_retry;
    failed.asked_wait_ms = failure->error.retry_after_ms;
    if (deadline_ms_ != 0) {
      failed.left_ms = deadline_ms_ - now_ms();
    }
    const double jitter = parties_.jitter();
    failed.most_asked_wait_ms =
        std::min(kMostAskedWaitMs, sinks_.most_asked_wait_ms - waited_as_asked);
    const std::optional<int64_t> wait = retry_wait_ms(failed, retries, jitter);
    if (!wait) {
      failed.most_asked_wait_ms = kMostAskedWaitMs;
      failure->error.worth_waiting_ms = retry_wait_ms(failed, retries, jitter);
      return std::move(failure->error);
    }
    waited_as_asked += failed.asked_wait_ms ? *wait : 0;
    if (sinks_.notice) {
      sinks_.notice(failure->error.cause + " Trying again in " + duration_text(*wait) + ".");
    }
    if (!parties_.clock.wait_ms(*wait, [this] { return check_cancelled(); })) {
      return own({}, ApiErrorClass::kCancelled, "").error;
    }
  }
}

HttpRequest ApiCall::request(const std::string& method, const std::string& url) const {
  HttpRequest http;
  http.method = method;
  http.url = url;
  http.accept_encoding = "gzip";
  const Provider& provider = parties_.provider;
  if (!parties_.key.value.empty()) {
    const bool bearer = provider.key_header.empty();
    http.headers.emplace_back(bearer ? "Authorization" : provider.key_header,
                              (bearer ? "Bearer " : "") + parties_.key.value);
  }
  http.headers.insert(http.headers.end(), provider.headers.begin(), provider.headers.end());
  if (method == "POST") {
    http.headers.emplace_back("Content-Type", "application/json");
  }
  const ProviderTimeouts& limits = parties_.provider.timeouts;
  http.connect_timeout_ms = limits.connect_ms;
  http.first_byte_timeout_ms = limits.first_byte_ms;
  http.idle_timeout_ms = limits.idle_ms;
  if (deadline_ms_ != 0) {
    constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
    http.total_timeout_ms =
        static_cast<int32_t>(std::clamp<int64_t>(deadline_ms_ - now_ms(), 1, kMost));
  }
  return http;
}

// What forbids to begin an exchange.
std::optional<ApiCall::Failure> ApiCall::obstacle(const std::string& url) {
  if (check_cancelled()) {
    return own({}, ApiErrorClass::kCancelled, "");
  }
  if (deadline_ms_ != 0 && now_ms() >= deadline_ms_) {
    return own({}, ApiErrorClass::kTimeout, "the time allowed for this request is over");
  }
  const bool secret = !parties_.key.value.empty() || !parties_.provider.headers.empty();
  if (secret && !is_safe_for_keys(url)) {
    return own({}, ApiErrorClass::kBadRequest,
               "a key, or a header that may hold one, may not go over plain http to another "
               "machine, where anybody on the way could read it; the address must be https");
  }
  return {};
}

std::optional<ApiCall::Failure> ApiCall::exchange(HttpRequest http, const Transport::BodySink& body,
                                                  const std::function<bool()>& enough,
                                                  Answer& answer) {
  if (auto failure = obstacle(http.url)) {
    return failure;
  }
  http.cancelled = [&] { return check_cancelled() || (enough && enough()); };
  answer.http =
      parties_.transport.exchange(http, [&](const HttpResponse& head, std::string_view piece) {
        if (head.status / 100 == 2) {
          return body(head, piece);
        }
        answer.refusal += piece.substr(0, kMostRefusalBytes - answer.refusal.size());
        return answer.refusal.size() < kMostRefusalBytes;
      });
  for (auto& [name, value] : http.headers) {
    wipe(value);  // one of them holds the key
  }
  const int32_t status = answer.http.response.status;
  sent_ = answer.http.sent;
  if (cancelled_) {
    return own(answer.http.response, ApiErrorClass::kCancelled, "");
  }
  if (status != 0 && status / 100 != 2) {  // even if its body broke off
    return refused(answer.http.response, read_error_body(answer.refusal));
  }
  return {};
}

std::optional<ApiCall::Failure> ApiCall::fetch(HttpRequest http, std::string& body,
                                               std::string& request_id) {
  Answer answer;
  body.clear();
  const auto collect = [&](const HttpResponse&, std::string_view piece) {
    body += piece;
    return body.size() <= kMostBodyBytes;
  };
  if (auto failure = exchange(std::move(http), collect, {}, answer)) {
    return failure;
  }
  if (!answer.http) {
    return broken(answer.http);
  }
  request_id = request_id_of(answer.http.response);
  if (body.size() > kMostBodyBytes) {
    return own(answer.http.response, ApiErrorClass::kProtocol,
               "the answer is longer than " + std::to_string(kMostBodyBytes >> 20) + " MiB");
  }
  return {};
}

}  // namespace tern
