#include "tools/embed_remote.h"

#include <algorithm>

#include "remote/curl_transport.h"
#include "remote/ledger.h"
#include "remote/remote_completer.h"
#include "remote/router.h"
#include "remote/system_clock.h"
#include "tools/cli.h"
#include "tools/offload.h"

namespace tern::cli {
namespace {

// Servers take more (OpenAI's 2048), but a call that fails costs all of it.
constexpr size_t kTextsACall = 64;

// Who has the model that is wanted, in the order of the chain.
Result<std::vector<std::string>> candidates(const RemoteSettings& settings, std::string& model) {
  std::vector<const Provider*> chain;
  for (const std::string& name : settings.policy.chain) {
    if (name != kLocalName) {
      chain.push_back(settings.providers.find(name));
    }
  }
  if (model.empty()) {
    const auto known =
        std::ranges::find_if(chain, [](auto* each) { return !each->embedding_model.empty(); });
    if (known == chain.end()) {
      return Error{
          "No provider of the route has an embedding_model in providers.json: name a model with "
          "-m."};
    }
    model = (*known)->embedding_model;
  }
  std::vector<std::string> listing;
  std::vector<std::string> all;
  for (const Provider* each : chain) {
    all.push_back(each->name);
    if (each->embedding_model == model || find_model(*each, model) != nullptr) {
      listing.push_back(each->name);
    }
  }
  return listing.empty() ? all : listing;
}

class Embedding {
 public:
  Embedding(Ledger ledger, const RemoteSettings& settings, std::vector<std::string> chain)
      : ledger_(std::move(ledger)), transport_(user_agent()) {
    RouterSetup setup;
    setup.providers = settings.providers;
    setup.policy = settings.policy;
    setup.policy.mode = RouteMode::kRemote;
    setup.policy.exact = true;
    setup.policy.chain = std::move(chain);
    setup.caps = settings.config.caps;
    for (Provider& provider : setup.providers.providers) {
      for (ProviderModel& each : provider.models) {
        each.context = 0;  // is a text's own, and the call has many
      }
    }
    for (const std::string& name : setup.policy.chain) {
      add(*settings.providers.find(name), setup);
    }
    router_ = std::make_unique<Router>(std::move(setup), ledger_, clock_);
  }

  Result<void> ask(std::span<const std::string> texts, const std::string& model, int64_t deadline,
                   ForeignEmbeddings& into) {
    batch_.assign(texts.begin(), texts.end());
    Request request;
    request.model = model;
    request.max_tokens = 0;
    for (const std::string& text : texts) {
      request.messages.push_back({"user", text});
    }
    Sinks sinks;
    sinks.notice = print_notice;
    sinks.cancelled = [] { return interrupted(); };
    const ApiOutcome outcome = router_->route(request, sinks, deadline);
    if (outcome.error) {
      return Error{outcome.error->message};
    }
    for (std::vector<float>& vector : vectors_) {
      if (!into.vectors.empty() && vector.size() != into.vectors.front().size()) {
        return Error{outcome.completion.served.provider + ": vectors of " +
                     std::to_string(vector.size()) + " numbers came beside those of " +
                     std::to_string(into.vectors.front().size()) + "."};
      }
      into.vectors.push_back(std::move(vector));
    }
    into.model = outcome.completion.served.model;
    into.provider = outcome.completion.served.provider;
    into.tokens += outcome.completion.usage.prompt_tokens;
    into.estimated = into.estimated || outcome.completion.usage.estimated;
    return {};
  }

 private:
  void add(const Provider& provider, RouterSetup& setup) {
    if (!setup.policy.allow_remote) {
      return;
    }
    Result<ApiKey> key = load_api_key(provider);
    if (!key) {
      setup.unusable[provider.name] = key.error().message;
      return;
    }
    auto& remote = remotes_[provider.name];
    remote = std::make_unique<RemoteCompleter>(transport_, clock_, provider, std::move(*key));
    setup.backends[provider.name] = [this, completer = remote.get()](
                                        const Request&, const std::string& id, const Sinks& sinks,
                                        int64_t deadline) {
      EmbeddingsOutcome embedded = completer->embed(batch_, id, sinks, deadline);
      ApiOutcome outcome;
      outcome.error = std::move(embedded.error);
      outcome.completion.usage = embedded.usage;
      outcome.completion.served = embedded.served;
      outcome.completion.reason = StopReason::kLength;  // no text is wanted
      vectors_ = std::move(embedded.vectors);
      return outcome;
    };
  }

  Ledger ledger_;
  SystemClock clock_;
  CurlTransport transport_;
  std::map<std::string, std::unique_ptr<RemoteCompleter>> remotes_;
  std::unique_ptr<Router> router_;
  std::vector<std::string> batch_;
  std::vector<std::vector<float>> vectors_;
};

}  // namespace

Result<std::optional<ForeignEmbeddings>> embed_elsewhere(const RemoteOptions& remote,
                                                         std::string& model,
                                                         const std::vector<std::string>& texts) {
  ASSIGN_OR_RETURN(const std::optional<RemoteSettings> settings, remote.others());
  ASSIGN_OR_RETURN(const ModelNames names, remote.names(model, settings ? &*settings : nullptr));
  const bool here = !settings ||
                    (settings->policy.mode == RouteMode::kAuto && names.not_here.empty()) ||
                    settings->policy.chain.front() == kLocalName;
  if (here) {
    model = names.local;
    RETURN_IF_ERROR(remote.calls.expect_none());
    return std::optional<ForeignEmbeddings>();
  }
  if (!names.kept_here.empty()) {
    return Error{names.kept_here +
                 " is a model of this machine, and vectors of another one cannot stand in for its "
                 "own: --remote-model names a provider's, --route local computes them here."};
  }
  std::string wanted = names.remote;
  ASSIGN_OR_RETURN(std::vector<std::string> chain, candidates(*settings, wanted));
  ASSIGN_OR_RETURN(Ledger ledger, open_ledger());
  Embedding embedding(std::move(ledger), *settings, std::move(chain));
  catch_interrupts();
  const double seconds = settings->config.deadline;
  const int64_t deadline =
      seconds > 0 ? SystemClock().monotonic_ms() + static_cast<int64_t>(seconds * 1e3) : 0;
  ForeignEmbeddings all;
  for (size_t begin = 0; begin < texts.size(); begin += kTextsACall) {
    const size_t count = std::min(kTextsACall, texts.size() - begin);
    RETURN_IF_ERROR(embedding.ask(std::span(texts).subspan(begin, count), wanted, deadline, all));
  }
  return std::optional(std::move(all));
}

}  // namespace tern::cli
