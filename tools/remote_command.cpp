// tern remote: keys, models, state and configuration of other providers. No prompt is sent.

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "engine/base/json_text.h"
#include "remote/api_key.h"
#include "remote/plain_line.h"
#include "remote/time_text.h"
#include "tools/cli.h"
#include "tools/offload.h"
#include "tools/remote_options.h"
#include "tools/table.h"

namespace tern::cli {
namespace {

using Json = nlohmann::ordered_json;

struct RemoteCommand {
  RemoteOptions options;  // of which only providers and the pin matter
  std::string what;
  bool json = false;
};

std::string price_text(const ProviderModel& model) {
  if (!model.price_in || !model.price_out) {
    return "unknown";
  }
  char text[64];
  std::snprintf(text, sizeof text, "%g in, %g out", *model.price_in, *model.price_out);
  return text;
}

// Those that --provider names, else all but this machine.
Result<std::vector<Provider>> chosen(const RemoteCommand& command, const RemoteSettings& settings) {
  std::vector<Provider> providers;
  for (const Provider& provider : settings.providers.providers) {
    const bool wanted =
        command.options.provider.empty() || command.options.provider == provider.name;
    if (wanted && provider.kind != ProviderKind::kLocal) {
      providers.push_back(provider);
    }
  }
  if (providers.empty()) {
    return Error{"--provider: local is this machine, and needs no key."};
  }
  return providers;
}

std::string key_text(const Provider& provider) {
  const Result<ApiKey> key = load_api_key(provider);
  if (!key) {
    return "none (" + (provider.key_variable.empty() ? provider.key_file : provider.key_variable) +
           ")";
  }
  return key->value.empty() ? "not needed" : mask_key(key->value) + " from " + key->source;
}

Ending show_providers(const RemoteCommand& command, const RemoteSettings& settings) {
  Json list = Json::array();
  std::vector<std::vector<std::string>> rows = {{"PROVIDER", "ADDRESS", "KEY", "MODEL", "CONTEXT",
                                                 "USD A MILLION TOKENS", "PRICED ON", "SOURCE"}};
  for (const Provider& provider : settings.providers.providers) {
    const bool local = provider.kind == ProviderKind::kLocal;
    const std::string key = local ? "-" : key_text(provider);
    Json models = Json::array();
    std::vector<std::string> start = {provider.name, local ? "this machine" : provider.base_url,
                                      key};
    for (const ProviderModel& model : provider.models) {
      const Json in = model.price_in ? Json(*model.price_in) : Json();
      const Json out = model.price_out ? Json(*model.price_out) : Json();
      models.push_back({{"id", model.id},
                        {"aliases", model.aliases},
                        {"context", model.context},
                        {"price_in", in},
                        {"price_out", out},
                        {"price_date", model.priced_on},
                        {"price_source", model.price_source}});
      start.insert(start.end(), {model.id, std::to_string(model.context), price_text(model),
                                 model.priced_on, model.price_source});
      rows.push_back(start);
      start = {"", "", ""};
    }
    if (provider.models.empty()) {
      start.insert(start.end(), {"-", "-", "-", "-", "-"});
      rows.push_back(start);
    }
    list.push_back({{"name", provider.name},
                    {"kind", local ? "local" : "openai"},
                    {"base_url", provider.base_url},
                    {"key", key},
                    {"default_model", provider.default_model},
                    {"models", models}});
  }
  if (command.json) {
    print_json(
        {{"files", settings.files}, {"chain", settings.providers.chain}, {"providers", list}});
    return {};
  }
  print_table(rows);
  for (const std::string& file : settings.files) {
    print_report_f("read: %s\n", file.c_str());
  }
  print_report_f("Prices are entries of these files, as old as their dates; check them.\n");
  return {};
}

std::string state_text(const BreakerState& state, int64_t now) {
  if (state.open_until == 0) {
    return state.failures == 0 ? "fine"
                               : "fine; failures in a row: " + std::to_string(state.failures);
  }
  return now < state.open_until ? "open, asked again in " + duration_text(state.open_until - now)
                                : "half open: the next call decides";
}

// The provider that has this address now, else the address.
std::string name_of_server(const ProviderSet& set, const std::string& address) {
  const auto found = std::ranges::find(set.providers, address, &Provider::base_url);
  return found == set.providers.end() ? plain_line(address, 100) : found->name;
}

// Forgets what was learnt of servers: breakers, exhausted quotas and refused fields. What was spent
// stays.
Ending reset(const RemoteCommand& command, const RemoteSettings& settings) {
  ASSIGN_OR_RETURN(Ledger ledger, open_ledger());
  const std::string& name = command.options.provider;
  const Provider* provider = settings.providers.find(name);
  if (!name.empty() && (provider == nullptr || provider->kind == ProviderKind::kLocal)) {
    return Error{"--provider: expected a provider that is not this machine, found " + name + "."};
  }
  RETURN_IF_ERROR(ledger.forget(provider == nullptr ? "" : provider->base_url));
  print_report_f("Forgotten: breakers, quotas and refused fields of %s.\n",
                 name.empty() ? "all providers" : name.c_str());
  return {};
}

Ending show_status(const RemoteCommand& command, const RemoteSettings& settings) {
  Result<Ledger> ledger = open_ledger();
  const int64_t now = SystemClock().unix_ms();
  const auto breakers = ledger ? ledger->breakers() : ledger.error();
  if (!breakers) {
    return Failure{breakers.error().message, FailureKind::kMachine};
  }
  Json list = Json::array();
  std::vector<std::vector<std::string>> rows = {
      {"PROVIDER", "MODEL", "STATE", "CALLS LATELY", "FAILED"}};
  for (const BreakerRow& row : *breakers) {
    const auto failed = std::ranges::count(row.state.recent, true, &BreakerCall::failed);
    const std::string state = state_text(seen_at(row.state, now), now);
    const std::string provider = name_of_server(settings.providers, row.address);
    rows.push_back({provider, plain_line(row.model, 100), state,
                    std::to_string(row.state.recent.size()), std::to_string(failed)});
    list.push_back({{"provider", provider},
                    {"address", row.address},
                    {"model", row.model},
                    {"state", state},
                    {"failures_in_a_row", row.state.failures},
                    {"open_until_ms", row.state.open_until}});
  }
  Json exhausted = Json::object();
  for (const Provider& provider : settings.providers.providers) {
    ASSIGN_OR_RETURN(const int64_t until, ledger->exhausted_until(provider.base_url, now));
    if (until > now) {
      exhausted[provider.name] = utc_text(until);
    }
  }
  if (command.json) {
    print_json({{"allow_remote", settings.config.allow_remote},
                {"route", settings.config.route},
                {"breakers", list},
                {"exhausted", exhausted},
                {"ledger", ledger_path().string()}});
    return {};
  }
  print_report_f("route: %s; prompts may leave this machine: %s\n", settings.config.route.c_str(),
                 settings.config.allow_remote ? "yes" : "no (--allow-remote)");
  if (breakers->empty()) {
    print_report_f("No calls so far.\n");
  } else {
    print_table(rows);
  }
  for (const auto& [name, until] : exhausted.items()) {
    print_report_f("%s: its quota is exhausted until %s\n", name.c_str(),
                   until.get<std::string>().c_str());
  }
  print_report_f("ledger: %s\n", ledger_path().c_str());
  return {};
}

// One provider, its key and what is needed to ask it.
struct Client {
  explicit Client(const Provider& provider, ApiKey with_key)
      : transport(user_agent()),
        key(std::move(with_key)),
        completer(transport, clock, provider, key) {
    sinks.cancelled = [] { return interrupted(); };
    for (const std::string& warning : key.warnings) {
      print_notice(warning);
    }
  }

  CurlTransport transport;
  SystemClock clock;
  ApiKey key;
  RemoteCompleter completer;
  Sinks sinks;
};

// Whether the server answers who has no key: what it says to one with a key then proves nothing.
bool lets_everybody_in(Provider provider, const Sinks& sinks) {
  provider.headers.clear();
  CurlTransport transport(user_agent());
  SystemClock clock;
  RemoteCompleter nobody(transport, clock, std::move(provider), ApiKey());
  return !nobody.knock(sinks).error;
}

Ending check_keys(const RemoteCommand& command, const RemoteSettings& settings) {
  ASSIGN_OR_RETURN(const std::vector<Provider> providers, chosen(command, settings));
  Json list = Json::array();
  std::string wrong;
  std::optional<FailureKind> first;
  const auto tell = [&](const Provider& provider, const std::string& text, const Failure* error) {
    list.push_back(
        {{"provider", provider.name}, {"accepted", error == nullptr}, {"message", text}});
    if (!command.json) {
      print_report_f("%s: %s\n", provider.name.c_str(), text.c_str());
    }
    if (error != nullptr) {
      wrong += (wrong.empty() ? "" : ", ") + provider.name;
      first = first.value_or(error->kind);
    }
  };
  for (const Provider& provider : providers) {
    const Result<ApiKey> key = load_api_key(provider);
    if (!key) {
      const Failure error{key.error().message, FailureKind::kAuth};
      tell(provider, error.message, &error);
      continue;
    }
    Client client(provider, *key);
    const KnockOutcome outcome = client.completer.knock(client.sinks);
    if (outcome.error) {
      const Failure error = failure_of(*outcome.error);
      // The message begins with the name.
      tell(provider, error.message.substr(provider.name.size() + 2), &error);
      continue;
    }
    const std::string models = outcome.lists_models
                                   ? count_text(static_cast<int64_t>(outcome.models), "model")
                                   : "it has no list of models";
    const bool open = lets_everybody_in(provider, client.sinks);
    tell(provider,
         open && !key->value.empty()
             ? "it answers without a key too (" + models + "): whether it takes " +
                   mask_key(key->value) + " is not known"
             : "accepted (" + key_text(provider) + "), " + models,
         nullptr);
  }
  if (wrong.empty()) {
    if (command.json) {
      print_json(list);
    }
    return {};
  }
  return Failure{"no access to " + wrong + ".", *first,
                 Json{{"providers", list}}.dump(-1, ' ', false, Json::error_handler_t::replace)};
}

Ending list_models(const RemoteCommand& command, const RemoteSettings& settings) {
  ASSIGN_OR_RETURN(const std::vector<Provider> providers, chosen(command, settings));
  Json list = Json::array();
  std::vector<std::vector<std::string>> rows = {
      {"PROVIDER", "MODEL", "OWNER", "USD A MILLION TOKENS"}};
  std::optional<Failure> failed;
  for (const Provider& provider : providers) {
    const Result<ApiKey> key = load_api_key(provider);
    std::optional<Failure> error;
    if (!key) {
      error = Failure{key.error().message, FailureKind::kAuth};
    } else {
      Client client(provider, *key);
      const ModelsOutcome outcome = client.completer.models(client.sinks);
      if (outcome.error) {
        error = failure_of(*outcome.error);
      }
      for (const RemoteModel& model : outcome.models) {
        const ProviderModel* known = find_model(provider, model.id);
        rows.push_back({provider.name, plain_line(model.id, 100), plain_line(model.owner, 60),
                        known == nullptr ? "unknown" : price_text(*known)});
        list.push_back({{"provider", provider.name},
                        {"id", model.id},
                        {"owner", model.owner},
                        {"context", model.context}});
      }
    }
    if (error) {
      print_notice(key ? error->message : provider.name + ": " + error->message);
      failed = error;
    }
  }
  if (list.empty() && failed) {
    return Failure{"no provider named its models.", failed->kind, failed->details};
  }
  if (command.json) {
    print_json(list);
  } else {
    print_table(rows);
  }
  return {};
}

std::string field_text(const nlohmann::json& body, const char* name) {
  const auto found = body.find(name);
  return found == body.end() || found->is_structured() ? "not said" : plain_line(found->dump(), 60);
}

Ending show_balance(const RemoteCommand& command, const RemoteSettings& settings) {
  ASSIGN_OR_RETURN(std::vector<Provider> providers, chosen(command, settings));
  std::erase_if(providers, [](const Provider& each) { return each.balance_url.empty(); });
  if (providers.empty()) {
    return Error{
        "no provider has a balance_url in providers.json. (Where an environment variable names "
        "another "
        "server, its own does not count: the key would go to a host that you did not name.)"};
  }
  for (const Provider& provider : providers) {
    const Result<ApiKey> key = load_api_key(provider);
    if (!key) {
      return Failure{provider.name + ": " + key.error().message, FailureKind::kAuth};
    }
    Client client(provider, *key);
    const BodyOutcome outcome = client.completer.get(provider.balance_url, client.sinks);
    if (outcome.error) {
      return failure_of(*outcome.error);
    }
    const nlohmann::json body = parse_json(outcome.body);
    if (!body.is_object()) {
      return Error{provider.name + ": the balance came as something else than a JSON object."};
    }
    if (command.json) {
      print_json({{"provider", provider.name}, {"balance", Json::parse(outcome.body)}});
      continue;
    }
    const std::string calls = field_text(body, "totalCalls");
    print_report_f("%s: balance %s, today %s, this month %s, %s call%s\n", provider.name.c_str(),
                   field_text(body, "balance").c_str(), field_text(body, "todayCost").c_str(),
                   field_text(body, "monthCost").c_str(), calls.c_str(), calls == "1" ? "" : "s");
  }
  return {};
}

struct Part {
  const char* name;
  const char* summary;
  Ending (*run)(const RemoteCommand&, const RemoteSettings&);
};

constexpr Part kParts[] = {
    {"check-key", "Ask each provider whether it takes your key", check_keys},
    {"models", "List the models that providers offer", list_models},
    {"status", "Who is asked now: breakers and quotas (opens no connection)", show_status},
    {"reset", "Forget breakers, quotas and refused fields (opens no connection)", reset},
    {"balance", "What is left of your money there (HolySheep)", show_balance},
    {"providers", "Check and print the configuration (opens no connection)", show_providers},
};

Ending run_part(const RemoteCommand& command) {
  ASSIGN_OR_RETURN(const RemoteSettings settings, command.options.settings());
  catch_interrupts();
  const std::string& offline = settings.policy.offline;
  const bool asks =
      command.what == "check-key" || command.what == "models" || command.what == "balance";
  if (asks && !offline.empty()) {
    return Error{offline + " is set: nothing leaves this machine."};
  }
  for (const Part& part : kParts) {
    if (command.what == part.name) {
      return part.run(command, settings);
    }
  }
  return Error{"tern remote: expected a command; tern remote --help lists them."};
}

}  // namespace

Action declare_remote(CLI::App& app) {
  const auto command = std::make_shared<RemoteCommand>();
  app.require_subcommand(1);
  for (const Part& part : kParts) {
    CLI::App* sub = app.add_subcommand(part.name, part.summary);
    command->options.declare_providers_file(*sub);
    sub->add_option("--provider", command->options.provider, "This provider alone; default: all")
        ->type_name("NAME");
    sub->add_flag("--json", command->json, "As JSON");
    sub->callback([command, &part] { command->what = part.name; });
  }
  return [command] { return run_part(*command); };
}

}  // namespace tern::cli
