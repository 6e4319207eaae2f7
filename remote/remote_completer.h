#pragma once
// One provider with an API as OpenAI's: a request goes out, a completion or a classified error comes back.
//
// Here stands the only retry loop (DESIGN.md has its rules): whoever calls, a router for one, never repeats a call for the
// reasons that this loop knows, but goes elsewhere.

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/api/completer.h"
#include "remote/api_key.h"
#include "remote/api_outcome.h"
#include "remote/clock.h"
#include "remote/dialect_openai.h"
#include "remote/provider.h"
#include "remote/retry.h"
#include "remote/transport.h"

namespace tern {

// Where an answer goes as it comes. Any of them may be empty; what they get is in the outcome too.
struct Sinks {
  // Pieces of the text, whole UTF-8 characters. Returning false ends the call, which is no error: StopReason::kCancelled.
  Completer::Sink text;
  // Pieces of what a reasoning model writes before its answer, likewise; never mixed into the text.
  Completer::Sink reasoning;
  // Sentences for the user: waiting before another try, settings that the provider does not take.
  std::function<void(const std::string&)> notice;
  // Asked every 20 ms or more often, waits included; true closes the connection at once: ApiErrorClass::kCancelled.
  std::function<bool()> cancelled;
  // One JSON answer is asked for instead of a stream. The limit for the first byte is then not the provider's, but ten minutes:
  // nothing comes before everything is written.
  bool plain = false;
  // So long in all is waited at a server's wish before further attempts; a longer wish ends the
  // call at once (another provider may answer sooner), and ApiError::worth_waiting_ms says what it
  // was.
  int64_t most_asked_wait_ms = kMostAskedWaitMs;
  bool others = false;  // another provider can answer if this one does not
};

struct ModelsOutcome {
  std::vector<RemoteModel> models;
  std::optional<ApiError> error;
};

struct KnockOutcome {
  bool lists_models = false;
  size_t models = 0;
  std::optional<ApiError> error;
};

struct EmbeddingsOutcome {
  std::vector<std::vector<float>> vectors;  // one a text, in their order
  Usage usage;
  Served served;
  std::optional<ApiError> error;
};

// The body of an answer with status 200.
struct BodyOutcome {
  std::string body;
  std::string request_id;
  std::optional<ApiError> error;
};

class ApiCall;

// May be called from several threads at once if the transport and the clock may.
class RemoteCompleter {
 public:
  // `transport` and `clock` outlive this. `jitter` gives numbers from 0 to 1 (1 excluded); empty: random ones.
  RemoteCompleter(Transport& transport, Clock& clock, Provider provider, ApiKey key,
                  std::function<double()> jitter = {});

  const Provider& provider() const { return provider_; }

  // Told of each field that the server refuses by name (it is left out from then on), so that it
  // can be remembered.
  using FieldSink = std::function<void(const std::string& field)>;
  void on_refused_field(FieldSink sink) { refused_ = std::move(sink); }

  // Asks for a completion by `model`, the server's own name for it (Request::model is not looked at). All attempts together end
  // before `deadline_ms` (Clock::monotonic_ms; 0: none) and within the provider's total limit.
  //
  // A success has all of the text, which may be empty. An error after the sinks got something (ApiError::delivered) is
  // never followed by another attempt; what came is in ApiError::partial_text. Request::local_only is refused.
  //
  // Of the sampling only values that differ from SamplingParams' defaults are sent, so that everything else is the
  // server's choice; Request::extra overrides every field of the request's body. Token counts that the server
  // does not give are estimated from the lengths and marked.
  ApiOutcome complete(const Request& request, const std::string& model, const Sinks& sinks,
                      int64_t deadline_ms = 0);

  // What the server has (GET /models), and whether the key is valid: 10 s, one attempt.
  ModelsOutcome models(const Sinks& sinks = {}, int64_t deadline_ms = 0);

  // Whether the server lets this key in, and what it has: GET /models, and where there is no such
  // thing an empty request for a completion, which costs nothing and which servers refuse after
  // they have looked at the key. 10 s each.
  KnockOutcome knock(const Sinks& sinks = {});

  EmbeddingsOutcome embed(const std::vector<std::string>& texts, const std::string& model,
                          const Sinks& sinks = {}, int64_t deadline_ms = 0);

  // GET of another address of the same provider, with the key: 10 s, one attempt.
  BodyOutcome get(const std::string& url, const Sinks& sinks = {}, int64_t deadline_ms = 0);

 private:
  class Asking;
  // Takes what a refusal teaches; false: nothing that would make the next request another one.
  bool learn(const ApiError& error, const ChatBody& sent);
  ProviderQuirks quirks();
  std::string address(const std::string& path) const;
  ApiCall begin(const Sinks& sinks, const std::string& model, int64_t deadline_ms,
                int64_t limit_ms);

  Transport& transport_;
  Clock& clock_;
  Provider provider_;
  ApiKey key_;
  std::function<double()> jitter_;
  std::mutex mutex_;
  ProviderQuirks quirks_;  // with what the server has refused so far
  FieldSink refused_;
};

}  // namespace tern
