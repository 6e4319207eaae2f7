#pragma once
// Who may be asked besides this machine: command line, ~/.config/tern/config.json and providers.json put together.

#include <CLI/CLI.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "remote/ledger.h"
#include "remote/provider_file.h"
#include "remote/route.h"
#include "remote/user_config.h"
#include "tools/model_names.h"
#include "tools/provider_options.h"

namespace tern::cli {

struct RemoteSettings {
  ProviderSet providers;
  std::vector<std::string> files;  // that they are from
  UserConfig config;               // with what the command line says in place of what the file says
  RoutePolicy policy;
};

struct RemoteOptions {
  std::string route;
  std::string provider;
  std::string providers_file;
  std::string config_file;
  std::string local_model;
  std::string remote_model;
  bool allow_remote = false;
  bool local_only = false;
  bool restart = false;
  bool allow_unknown_price = false;
  std::optional<double> offload_after;
  std::optional<double> deadline;
  std::optional<double> cap_call;
  std::optional<double> cap_day;
  std::optional<double> cap_month;
  ProviderOptions calls;

  // All of them, for commands that complete text.
  void declare(CLI::App& app);
  void declare_providers_file(CLI::App& app);
  Result<RemoteSettings> settings() const;
  // The same for commands that complete text; none where this machine alone may answer. By default that needs no providers.json.
  Result<std::optional<RemoteSettings>> others() const;
  // What -m's word means for this machine and for those that `settings` lets answer (none: this
  // machine alone).
  Result<ModelNames> names(const std::string& model, const RemoteSettings* settings) const;

 private:
  // What config.json says, with what the command line says in its place.
  Result<UserConfig> config() const;
  Result<RemoteSettings> settings_of(const UserConfig& config) const;
};

// config.json and providers.json: in tern in XDG_CONFIG_HOME or ~/.config. Empty without a home folder.
std::filesystem::path config_file(std::string_view name);
// tern/remote.db in XDG_STATE_HOME or ~/.local/state. Empty without a home folder.
std::filesystem::path ledger_path();
// Opens it, in a folder that nobody else may look into.
Result<Ledger> open_ledger();

}  // namespace tern::cli
