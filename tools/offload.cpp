#include "tools/offload.h"

#include <cstdio>

#include "tools/version.h"

namespace tern::cli {
namespace {

void show_route(const Route& route) {
  print_message_f("route: %s (%s), because %s\n", route.steps.front().provider.c_str(),
                  route.steps.front().model.c_str(), route.reason.c_str());
}

}  // namespace

Offload::Offload(Ledger ledger) : ledger_(std::move(ledger)), transport_(user_agent()) {}

Result<std::unique_ptr<Offload>> Offload::create(const RemoteSettings& settings,
                                                 const ModelOptions& model, const ModelNames& names,
                                                 const SpeculationFlags& speculation, int context) {
  ASSIGN_OR_RETURN(Ledger ledger, Ledger::open(ledger_path()));
  std::unique_ptr<Offload> offload(new Offload(std::move(ledger)));
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

Result<Completion> Offload::complete(const Request& request, const Completer::Sink& sink,
                                     const Completer::Sink& reasoning) {
  Sinks sinks;
  sinks.text = sink;
  sinks.reasoning = reasoning;
  sinks.notice = print_notice;
  sinks.cancelled = [] { return interrupted(); };
  const int64_t deadline = deadline_ms_ == 0 ? 0 : clock_.monotonic_ms() + deadline_ms_;
  ApiOutcome outcome = router_->route(request, sinks, deadline);
  if (outcome.error && outcome.error->kind == ApiErrorClass::kCancelled) {
    // The user's wish, as with a model of this machine: what came is the answer.
    outcome.completion.text = outcome.error->partial_text;
    outcome.completion.reason = StopReason::kCancelled;
  } else if (outcome.error) {
    return Error{outcome.error->message};
  }
  return std::move(outcome.completion);
}

std::string user_agent() {
  return std::string("tern/") + kVersion;
}

}  // namespace tern::cli
