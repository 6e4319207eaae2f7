#include "tools/offload.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "remote/api_error.h"
#include "remote/time_text.h"
#include "tools/version.h"

namespace tern::cli {
namespace {

void show_route(const Route& route) {
  print_message_f("route: %s (%s), because %s\n", route.steps.front().provider.c_str(),
                  route.steps.front().model.c_str(), route.reason.c_str());
}

FailureKind kind_of(const ApiError& error) {
  if (error.delivered) {
    return FailureKind::kPartial;
  }
  switch (error.kind) {
    case ApiErrorClass::kAuth:
    case ApiErrorClass::kPermission:
      return FailureKind::kAuth;
    case ApiErrorClass::kQuota:
      return FailureKind::kQuota;
    case ApiErrorClass::kRateLimit:
      return FailureKind::kRateLimit;
    case ApiErrorClass::kContextLength:
      return FailureKind::kContext;
    case ApiErrorClass::kModelNotFound:
    case ApiErrorClass::kBadRequest:
      return FailureKind::kInput;
    case ApiErrorClass::kContentPolicy:
      return FailureKind::kContent;
    case ApiErrorClass::kTimeout:
      return FailureKind::kTimeout;
    case ApiErrorClass::kNetwork:
      return FailureKind::kNetwork;
    case ApiErrorClass::kServer:
    case ApiErrorClass::kProtocol:
      return FailureKind::kServer;
    case ApiErrorClass::kLocal:
    case ApiErrorClass::kCancelled:
      return FailureKind::kMachine;
  }
  return FailureKind::kServer;
}

}  // namespace

Offload::Offload(Ledger ledger) : ledger_(std::move(ledger)), transport_(user_agent()) {}

Result<std::unique_ptr<Offload>> Offload::create(const RemoteSettings& settings,
                                                 const ModelOptions& model, const ModelNames& names,
                                                 const SpeculationFlags& speculation, int context) {
  Result<Ledger> ledger = open_ledger();
  if (!ledger) {
    // This machine needs none; the router asks nobody else without one, and says so.
    print_notice(ledger.error().message + " Until then other providers are not asked.");
    ledger = Ledger::unusable(ledger.error());
  }
  std::unique_ptr<Offload> offload(new Offload(std::move(*ledger)));
  offload->deadline_ms_ = static_cast<int64_t>(settings.config.deadline * 1e3);
  RouterSetup setup;
  setup.providers = settings.providers;
  setup.policy = settings.policy;
  setup.caps = settings.config.caps;
  setup.restart_on_stream_error = settings.config.restart_on_stream_error;
  setup.kept_here = names.kept_here;
  setup.local_named = names.local_named;
  if (model.verbose) {
    setup.planned = show_route;
  }
  for (const std::string& name : settings.policy.chain) {
    const Provider& provider = *settings.providers.find(name);
    if (provider.kind == ProviderKind::kLocal || !settings.policy.allow_remote) {
      continue;
    }
    Result<ApiKey> key = load_api_key(provider);
    if (!key) {
      setup.unusable[name] = key.error().message;
      continue;
    }
    for (const std::string& warning : key->warnings) {
      print_notice(warning);
    }
    setup.backends[name] = offload->backend_of(provider, std::move(*key));
  }
  const Provider* here = settings.providers.find(kLocalName);
  offload->local_ = std::make_unique<LocalEngine>(model, names, speculation, context, here,
                                                  offload->ledger_, settings.policy.offload_after);
  LocalEngine* local = offload->local_.get();
  setup.backends[kLocalName] = [local, owner = offload.get()](const Request& request,
                                                              const std::string&,
                                                              const Sinks& sinks, int64_t) {
    owner->local_answers_ = true;
    return local->complete(request, sinks);
  };
  setup.local = [local](const Request& request, Wanted& wanted) {
    return local->look(request, wanted);
  };
  offload->router_ = std::make_unique<Router>(std::move(setup), offload->ledger_, offload->clock_);
  return offload;
}

RouterSetup::Backend Offload::backend_of(Provider provider, ApiKey key) {
  const std::string address = provider.base_url;
  if (const auto refused = ledger_.refused_fields(address, clock_.unix_ms())) {
    provider.quirks.refused_fields.insert(refused->begin(), refused->end());
  }
  auto& remote = remotes_[provider.name];
  remote =
      std::make_unique<RemoteCompleter>(transport_, clock_, std::move(provider), std::move(key));
  remote->on_refused_field([this, address](const std::string& field) {
    // What cannot be remembered is learnt again.
    static_cast<void>(ledger_.note_refused_field(address, field, clock_.unix_ms()));
  });
  return [this, completer = remote.get()](const Request& request, const std::string& id,
                                          const Sinks& sinks, int64_t deadline_ms) {
    local_answers_ = false;
    return completer->complete(request, id, sinks, deadline_ms);
  };
}

ApiOutcome Offload::complete(const Request& request, const Completer::Sink& sink,
                             const Completer::Sink& reasoning) {
  Sinks sinks;
  sinks.text = sink;
  sinks.reasoning = reasoning;
  sinks.notice = print_notice;
  sinks.cancelled = [] { return stop_wanted(); };
  const int64_t deadline = deadline_ms_ == 0 ? 0 : clock_.monotonic_ms() + deadline_ms_;
  ApiOutcome outcome = router_->route(request, sinks, deadline);
  if (outcome.error && outcome.error->kind == ApiErrorClass::kCancelled) {
    // The user's wish, as with a model of this machine: what came is the answer.
    outcome.completion.text = outcome.error->partial_text;
    outcome.completion.reason = StopReason::kCancelled;
    outcome.error.reset();
  }
  return outcome;
}

Failure failure_of(const ApiError& error) {
  using Json = nlohmann::ordered_json;
  Json details = {{"provider", error.provider.empty() ? Json() : Json(error.provider)},
                  {"status", error.status == 0 ? Json() : Json(error.status)},
                  {"retry_after", Json()},
                  {"partial_text", error.partial_text.empty() ? Json() : Json(error.partial_text)},
                  {"request_id", error.request_id.empty() ? Json() : Json(error.request_id)}};
  if (error.retry_after_ms) {
    details["retry_after"] = static_cast<double>(*error.retry_after_ms) * 1e-3;  // seconds
  }
  if (error.resets_at) {
    details["resets_at"] = utc_text(*error.resets_at);
  }
  return Failure{error.message, kind_of(error),
                 details.dump(-1, ' ', false, Json::error_handler_t::replace)};
}

std::string user_agent() {
  return std::string("tern/") + kVersion;
}

}  // namespace tern::cli
