#include "remote/remote_completer.h"

#include <algorithm>
#include <random>

#include "remote/answer_reader.h"
#include "remote/api_call.h"
#include "remote/budget.h"

namespace tern {
namespace {

using Failure = ApiCall::Failure;

constexpr int32_t kPlainFirstByteMs = 600'000;
constexpr int64_t kShortCallMs = 10'000;

double random_jitter() {
  thread_local std::mt19937 engine(std::random_device{}());
  return std::uniform_real_distribution<double>(0, 1)(engine);
}

// What an estimate of the prompt's tokens is made from, the same as before anything is sent.
size_t prompt_bytes(const Request& request) {
  constexpr int64_t kBytesOfAToken = 4;  // as estimated_tokens counts them
  return static_cast<size_t>(kBytesOfAToken * likely_prompt_tokens(request));
}

// When what came, and for how long what is left is waited for.
class Watch {
 public:
  Watch(const ApiCall& call, const AnswerReader& reader) : call_(call), reader_(reader) {}

  bool feed(AnswerReader& reader, std::string_view piece) {
    const size_t before = reader.answer().size();
    const double now = call_.seconds_since_start();  // what sinks take counts for what comes next
    const bool go_on = reader.feed(piece);
    if (reader.answer().size() > before) {
      last_ = now;
      first_ = first_ < 0 ? last_ : first_;
    }
    return go_on;
  }

  // The text is whole, and what may still come (the usage after it, the end of the body for the sake of the connection) is late.
  bool enough() {
    if (!reader_.finished()) {
      return false;
    }
    constexpr int64_t kUsageMs = 3'000;
    constexpr int64_t kBodyEndMs = 500;
    const int64_t now = call_.now_ms();
    finished_ms_ = finished_ms_ < 0 ? now : finished_ms_;
    return now - finished_ms_ > (reader_.has_enough() ? kBodyEndMs : kUsageMs);
  }

  void put_times(Usage& usage) const {
    usage.first_token_seconds = std::max(first_, 0.0);
    usage.generation_seconds = last_ - first_;
  }

 private:
  const ApiCall& call_;
  const AnswerReader& reader_;
  double first_ = -1;  // seconds from the start of the call; -1: nothing came
  double last_ = -1;
  int64_t finished_ms_ = -1;
};

// What a reader's end means for the call; none: the completion is in `outcome`.
std::optional<Failure> judge(const ApiCall& call, AnswerReader& reader, const HttpOutcome& http,
                             size_t bytes_asked, Completion& completion) {
  const AnswerReader::End end = reader.finish();
  const HttpResponse& head = http.response;
  switch (end) {
    case AnswerReader::End::kStopped:
      completion = reader.answer().so_far(bytes_asked);
      completion.reason = StopReason::kCancelled;
      return {};
    case AnswerReader::End::kRefused:
      return call.refused(head, reader.error());
    case AnswerReader::End::kCut:
      // Cancelled is what an exchange is that we ended ourselves, after the marker of the end.
      if (!http && http.failure != HttpFailure::kCancelled) {
        return call.broken(http);
      }
      [[fallthrough]];
    case AnswerReader::End::kNonsense:
      return reader.answer().recognised()
                 ? call.not_whole(head, reader.words())
                 : call.own(head, ApiErrorClass::kProtocol, reader.words());
    default:
      break;
  }
  Result<Completion> complete = reader.answer().complete(bytes_asked);
  if (!complete) {
    const bool cut = reader.answer().reason() == StopReason::kLength;
    return call.own(head, cut ? ApiErrorClass::kBadRequest : ApiErrorClass::kProtocol,
                    complete.error().message);
  }
  completion = std::move(*complete);
  return {};
}

// One exchange whose answer is a completion.
std::optional<Failure> ask(ApiCall& call, HttpRequest http, size_t bytes_asked,
                           ApiOutcome& outcome) {
  Completion& completion = outcome.completion;
  AnswerReader reader(call.sinks().text, call.sinks().reasoning);
  Watch watch(call, reader);
  ApiCall::Answer answer;
  std::optional<Failure> failure = call.exchange(
      std::move(http),
      [&](const HttpResponse&, std::string_view piece) { return watch.feed(reader, piece); },
      [&] { return watch.enough(); }, answer);
  if (!failure) {
    failure = judge(call, reader, answer.http, bytes_asked, completion);
  }
  if (failure) {
    failure->error.partial_text = reader.answer().text();
    failure->error.delivered = reader.delivered();
    return failure;
  }
  outcome.cached_tokens = reader.answer().cached_tokens();
  watch.put_times(completion.usage);
  completion.served.model = reader.answer().model();
  completion.served.request_id = request_id_of(answer.http.response);
  if (completion.served.request_id.empty()) {
    completion.served.request_id = reader.answer().id();
  }
  return {};
}

}  // namespace

RemoteCompleter::RemoteCompleter(Transport& transport, Clock& clock, Provider provider, ApiKey key,
                                 std::function<double()> jitter)
    : transport_(transport),
      clock_(clock),
      provider_(std::move(provider)),
      key_(std::move(key)),
      jitter_(jitter ? std::move(jitter) : random_jitter),
      quirks_(provider_.quirks) {
  while (provider_.base_url.ends_with('/')) {
    provider_.base_url.pop_back();
  }
}

ApiCall RemoteCompleter::begin(const Sinks& sinks, const std::string& model, int64_t deadline_ms,
                               int64_t limit_ms) {
  return {{transport_, clock_, provider_, key_, jitter_}, sinks, model, deadline_ms, limit_ms};
}

ProviderQuirks RemoteCompleter::quirks() {
  const std::lock_guard guard(mutex_);
  return quirks_;
}

bool RemoteCompleter::learn(const ApiError& error, const ChatBody& sent) {
  if (error.kind != ApiErrorClass::kBadRequest || (error.status != 400 && error.status != 422)) {
    return false;
  }
  const std::lock_guard guard(mutex_);
  const std::set<std::string> before = quirks_.refused_fields;
  if (!learn_quirk(error.cause, error.param, sent, quirks_)) {
    return false;
  }
  for (const std::string& field : quirks_.refused_fields) {
    if (refused_ && !before.contains(field)) {
      refused_(field);
    }
  }
  return true;
}

// What is asked for a completion, until it is answered.
class RemoteCompleter::Asking {
 public:
  Asking(RemoteCompleter& owner, ApiCall& call, const Request& request, const std::string& model)
      : owner_(owner), call_(call), request_(request), model_(model) {}

  // One attempt, and at once another one without whatever the server refuses by name.
  std::optional<Failure> attempt(ApiOutcome& outcome) {
    const Provider& provider = owner_.provider_;
    for (;;) {
      const Result<ChatBody> body = write_chat_request(request_, model_, owner_.quirks(),
                                                       !call_.sinks().plain, provider.extra_body);
      if (!body) {
        return call_.own({}, ApiErrorClass::kBadRequest, body.error().message);
      }
      note(body->left_out);
      std::optional<Failure> failure =
          ask(call_, http_of(body->json), prompt_bytes(request_), outcome);
      if (!failure || !owner_.learn(failure->error, *body)) {
        return failure;
      }
    }
  }

 private:
  void note(const std::vector<std::string>& left_out) {
    for (const std::string& name : left_out) {
      if (call_.sinks().notice && noted_.insert(name).second) {
        call_.sinks().notice(owner_.provider_.name + ": " + name +
                             " is left out, which this API does not take.");
      }
    }
  }

  HttpRequest http_of(const std::string& json) const {
    HttpRequest http = call_.request("POST", owner_.address("/chat/completions"));
    http.body = json;
    if (call_.sinks().plain) {
      http.first_byte_timeout_ms = kPlainFirstByteMs;
      http.headers.emplace_back("Accept", "application/json");
    } else {
      // Compression would hold back pieces until there is enough to compress.
      http.accept_encoding = "identity";
      http.headers.emplace_back("Accept", "text/event-stream");
    }
    return http;
  }

  RemoteCompleter& owner_;
  ApiCall& call_;
  const Request& request_;
  const std::string& model_;
  std::set<std::string> noted_;
};

ApiOutcome RemoteCompleter::complete(const Request& request, const std::string& model,
                                     const Sinks& sinks, int64_t deadline_ms) {
  ApiCall call = begin(sinks, model, deadline_ms, provider_.timeouts.total_ms);
  ApiOutcome outcome;
  if (request.local_only) {
    outcome.error = call.own({}, ApiErrorClass::kBadRequest,
                             "this request may not leave the machine, and was not sent")
                        .error;
    return outcome;
  }
  Asking asking(*this, call, request, model);
  outcome.error = call.repeat([&] { return asking.attempt(outcome); }, provider_.retries);
  outcome.unanswered = call.unanswered();
  outcome.completion.served.provider = provider_.name;
  Served& served = outcome.completion.served;
  served.request_id = redact_keys(served.request_id, key_.value);
  served.model = served.model.empty() ? model : redact_keys(served.model, key_.value);
  return outcome;
}

// The base URL with a path, and the query that the provider wants behind it.
std::string RemoteCompleter::address(const std::string& path) const {
  return provider_.base_url + path + (provider_.query.empty() ? "" : "?" + provider_.query);
}

ModelsOutcome RemoteCompleter::models(const Sinks& sinks, int64_t deadline_ms) {
  BodyOutcome got = get(address("/models"), sinks, deadline_ms);
  ModelsOutcome outcome;
  outcome.error = std::move(got.error);
  if (outcome.error) {
    return outcome;
  }
  Result<std::vector<RemoteModel>> models = read_models(got.body);
  if (models) {
    outcome.models = std::move(*models);
  } else {
    const std::string no_model;
    outcome.error = begin(sinks, no_model, 0, 0)
                        .own({}, ApiErrorClass::kProtocol, models.error().message)
                        .error;
  }
  return outcome;
}

KnockOutcome RemoteCompleter::knock(const Sinks& sinks) {
  ModelsOutcome listed = models(sinks);
  if (!listed.error) {
    return {true, listed.models.size(), {}};
  }
  constexpr int32_t kNoSuchThing[] = {404, 405, 501};
  if (std::ranges::find(kNoSuchThing, listed.error->status) == std::end(kNoSuchThing)) {
    return {false, 0, std::move(listed.error)};
  }
  const std::string no_model;
  ApiCall call = begin(sinks, no_model, 0, kShortCallMs);
  HttpRequest http = call.request("POST", address("/chat/completions"));
  http.body = "{}";
  std::string body;
  std::string request_id;
  const std::optional<Failure> failure = call.fetch(std::move(http), body, request_id);
  const bool about_the_body = failure &&
                              (failure->error.status == 400 || failure->error.status == 422) &&
                              failure->error.kind != ApiErrorClass::kAuth;
  if (!failure || about_the_body) {
    return {};
  }
  return {false, 0, failure->error};
}

BodyOutcome RemoteCompleter::get(const std::string& url, const Sinks& sinks, int64_t deadline_ms) {
  const std::string no_model;
  ApiCall call = begin(sinks, no_model, deadline_ms, kShortCallMs);
  BodyOutcome outcome;
  outcome.error = call.repeat(
      [&] { return call.fetch(call.request("GET", url), outcome.body, outcome.request_id); }, 0);
  return outcome;
}

EmbeddingsOutcome RemoteCompleter::embed(const std::vector<std::string>& texts,
                                         const std::string& model, const Sinks& sinks,
                                         int64_t deadline_ms) {
  ApiCall call = begin(sinks, model, deadline_ms, provider_.timeouts.total_ms);
  EmbeddingsOutcome outcome;
  const auto attempt = [&]() -> std::optional<Failure> {
    HttpRequest http = call.request("POST", address("/embeddings"));
    http.body = write_embeddings_request(texts, model);
    std::string body;
    if (auto failure = call.fetch(std::move(http), body, outcome.served.request_id)) {
      return failure;
    }
    Result<Embeddings> embeddings = read_embeddings(body, texts.size());
    if (!embeddings) {
      return call.own({}, ApiErrorClass::kProtocol, embeddings.error().message);
    }
    outcome.vectors = std::move(embeddings->vectors);
    outcome.usage = embeddings->usage;
    outcome.served.model = embeddings->model.empty() ? model : embeddings->model;
    return {};
  };
  outcome.error = call.repeat(attempt, provider_.retries);
  outcome.served.provider = provider_.name;
  if (!outcome.error && outcome.usage.estimated) {
    for (const std::string& text : texts) {
      outcome.usage.prompt_tokens += estimated_tokens(text.size());
    }
  }
  return outcome;
}

}  // namespace tern
