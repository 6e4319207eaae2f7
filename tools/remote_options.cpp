#include "tools/remote_options.h"

#include <algorithm>

#include "engine/base/environment.h"
#include "engine/base/file.h"
#include "engine/base/own_file.h"
#include "remote/offline.h"
#include "tools/built_in.h"
#include "tools/cli.h"

namespace tern::cli {
namespace {

// What lies in the user's folder of settings: there is none without a home folder.
bool is_there(const std::filesystem::path& path) {
  std::error_code ignored;
  return !path.empty() && std::filesystem::exists(path, ignored);
}

// `named`: by --config; empty: the user's own, if there is one. Never one of the working folder
// that nobody named: it could send prompts and keys where its author likes.
Result<UserConfig> read_config(const std::string& named) {
  const std::filesystem::path path =
      named.empty() ? config_file("config.json") : std::filesystem::path(named);
  if (named.empty() && !is_there(path)) {
    return UserConfig();
  }
  ASSIGN_OR_RETURN(const std::string text, read_own_text_file(path, size_t{1} << 20));
  return parse_user_config(path.string(), text);
}

Result<void> add_text(RemoteSettings& settings, const std::string& path, const std::string& text) {
  RETURN_IF_ERROR(add_providers(settings.providers, path, text));
  settings.files.push_back(path);
  return {};
}

Result<void> read_providers(RemoteSettings& settings, const std::string& named) {
  RETURN_IF_ERROR(add_text(settings, "providers.json (built in)", std::string(kProvidersJson)));
  const std::filesystem::path own = config_file("providers.json");
  constexpr size_t kMostBytes = size_t{4} << 20;
  if (!named.empty()) {
    ASSIGN_OR_RETURN(const std::string text, read_text_file(named, kMostBytes));
    RETURN_IF_ERROR(add_text(settings, named, text));
  } else if (is_there(own)) {
    ASSIGN_OR_RETURN(const std::string text, read_own_text_file(own, kMostBytes));
    RETURN_IF_ERROR(add_text(settings, own.string(), text));
  }
  return apply_environment(settings.providers, environment);
}

void put_cap(std::optional<NanoDollars>& cap, const std::optional<double>& given) {
  if (given) {
    cap = nano_dollars(*given);
  }
}

// --provider: this one alone, also within auto.
Result<void> pin(RemoteSettings& settings, bool route_given) {
  const std::string& name = settings.config.provider;
  if (settings.providers.find(name) == nullptr) {
    return Error{"--provider: expected one of " + settings.providers.names() + ", found " + name +
                 "."};
  }
  RoutePolicy& policy = settings.policy;
  if (policy.mode == RouteMode::kLocal) {
    if (route_given && name != kLocalName) {
      return Error{"--route local and --provider " + name +
                   " contradict each other: nothing leaves this machine, or " + name +
                   " is asked."};
    }
    policy.mode = RouteMode::kRemote;
  }
  policy.exact = policy.mode == RouteMode::kRemote;
  policy.chain = {name};
  return {};
}

}  // namespace

void RemoteOptions::declare(CLI::App& app) {
  app.add_option("--route", route,
                 "Who answers: local (default: nothing leaves this machine), auto (others for what "
                 "it cannot do), remote, or a chain of providers as holysheep,openai,local")
      ->type_name("ROUTE");
  app.add_option("--provider", provider, "Ask this provider and no other")->type_name("NAME");
  declare_providers_file(app);
  app.add_option("--config", config_file,
                 "Read settings from this file; default: ~/.config/tern/config.json")
      ->type_name("FILE");
  app.add_option("--remote-model", remote_model,
                 "The model that providers are asked for, where -m names one of this machine; "
                 "default: each one's own")
      ->type_name("NAME");
  app.add_option("--local-model", local_model,
                 "The model of this machine, where -m names a provider's")
      ->type_name("MODEL");
  app.add_flag("--allow-remote", allow_remote, "Agree that prompts are sent to providers");
  app.add_flag("--local-only", local_only,
               "Nothing of this may leave the machine, whatever else is said");
  app.add_option("--offload-after", offload_after,
                 "auto: ask others for what is estimated to take longer here")
      ->check(in_range(0.0, 1e6))
      ->type_name("SECONDS");
  app.add_option("--deadline", deadline, "Give up on other providers after so long in all")
      ->check(in_range(0.0, 1e6))
      ->type_name("SECONDS");
  app.add_flag(
      "--restart-on-stream-error", restart,
      "When an answer breaks off, let another provider answer from the beginning, behind a "
      "line that says so");
  app.add_option("--max-cost", cap_call, "Send nothing that may cost more")
      ->check(in_range(0.0, 1e9))
      ->type_name("USD");
  app.add_option("--budget-day", cap_day, "Spend no more on a day (UTC)")
      ->check(in_range(0.0, 1e9))
      ->type_name("USD");
  app.add_option("--budget-month", cap_month, "Spend no more in a month (UTC)")
      ->check(in_range(0.0, 1e9))
      ->type_name("USD");
  app.add_flag("--allow-unknown-price", allow_unknown_price,
               "Under a budget, ask also for models whose price is not known");
  calls.declare(app);
}

void RemoteOptions::declare_providers_file(CLI::App& app) {
  app.add_option("--providers", providers_file,
                 "Read providers from this file; default: ~/.config/tern/providers.json")
      ->type_name("FILE");
}

Result<UserConfig> RemoteOptions::config() const {
  ASSIGN_OR_RETURN(UserConfig config, read_config(config_file));
  if (!route.empty()) {
    config.route = route;
    config.provider.clear();  // what the command line says is not narrowed by the file
  }
  if (!provider.empty()) {
    config.provider = provider;
  }
  config.allow_remote = config.allow_remote || allow_remote;
  config.restart_on_stream_error = config.restart_on_stream_error || restart;
  config.offload_after = offload_after.value_or(config.offload_after);
  config.deadline = deadline.value_or(config.deadline);
  put_cap(config.caps.call, cap_call);
  put_cap(config.caps.day, cap_day);
  put_cap(config.caps.month, cap_month);
  config.caps.allow_unknown_prices = config.caps.allow_unknown_prices || allow_unknown_price;
  return config;
}

Result<RemoteSettings> RemoteOptions::settings_of(const UserConfig& config) const {
  RemoteSettings settings;
  settings.config = config;
  RETURN_IF_ERROR(read_providers(settings, providers_file));
  ASSIGN_OR_RETURN(settings.policy, parse_route(config.route, settings.providers));
  if (!config.provider.empty()) {
    RETURN_IF_ERROR(pin(settings, !route.empty()));
  }
  settings.policy.allow_remote = config.allow_remote;
  settings.policy.offload_after = config.offload_after;
  settings.policy.offline = offline_variable();
  RETURN_IF_ERROR(calls.apply(config.limits, settings.policy, settings.providers));
  if (local_only || !settings.policy.offline.empty()) {
    settings.policy.mode = RouteMode::kLocal;
  }
  return settings;
}

Result<RemoteSettings> RemoteOptions::settings() const {
  ASSIGN_OR_RETURN(const UserConfig merged, config());
  return settings_of(merged);
}

Result<std::optional<RemoteSettings>> RemoteOptions::others() const {
  ASSIGN_OR_RETURN(const UserConfig merged, config());
  if (merged.route == "local" && merged.provider.empty() && providers_file.empty()) {
    return std::optional<RemoteSettings>();
  }
  ASSIGN_OR_RETURN(RemoteSettings settings, settings_of(merged));
  if (settings.policy.mode == RouteMode::kLocal) {
    if (!settings.policy.offline.empty() && !local_only) {
      print_notice(settings.policy.offline + " is set: nothing leaves this machine.");
    }
    return std::optional<RemoteSettings>();
  }
  return std::optional(std::move(settings));
}

Result<ModelNames> RemoteOptions::names(const std::string& model,
                                        const RemoteSettings* settings) const {
  ASSIGN_OR_RETURN(const UserConfig merged, config());
  const NamedModels named{model, local_model, remote_model, merged.local_model,
                          merged.remote_model};
  if (settings == nullptr) {
    // A provider's name for a model means nothing here; the error says so where there is no
    // stand-in.
    ModelNames names;
    const bool two = !model.empty() && !local_model.empty() && model != local_model;
    if (two && (has_form_of_path(model) || std::filesystem::exists(model))) {
      return Error{"-m " + model + " and --local-model " + local_model +
                   " name two models of this machine: expected one."};
    }
    names.local_named = !model.empty() || !local_model.empty();
    names.local = !local_model.empty() ? local_model : !model.empty() ? model : merged.local_model;
    return names;
  }
  std::vector<const Provider*> asked;
  for (const std::string& name : settings->policy.chain) {
    if (name != kLocalName) {
      asked.push_back(settings->providers.find(name));
    }
  }
  return model_names(named, asked, settings->providers.find(kLocalName));
}

std::filesystem::path config_file(std::string_view name) {
  return xdg_file("XDG_CONFIG_HOME", ".config", name);
}

std::filesystem::path ledger_path() {
  return xdg_file("XDG_STATE_HOME", ".local/state", "remote.db");
}

Result<Ledger> open_ledger() {
  const std::filesystem::path path = ledger_path();
  std::error_code ignored;  // what cannot be made shows when the file is opened
  std::filesystem::create_directories(path.parent_path(), ignored);
  std::filesystem::permissions(path.parent_path(), std::filesystem::perms::owner_all, ignored);
  return Ledger::open(path);
}

}  // namespace tern::cli
