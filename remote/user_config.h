#pragma once
// ~/.config/tern/config.json: what a user has decided once for all.

#include <optional>
#include <string>

#include "engine/base/result.h"
#include "remote/budget.h"

namespace tern {

// Limits of calls to providers, in seconds; none: as providers.json has them.
struct CallLimits {
  std::optional<double> connect;
  std::optional<double> first_byte;
  std::optional<double> idle;
  std::optional<double> total;
  std::optional<int64_t> retries;
};

struct UserConfig {
  std::string route = "local";
  std::string provider;       // to be asked alone; empty: whom the route names
  bool allow_remote = false;  // prompts may leave this machine
  double offload_after = 0;   // seconds; 0: never for being slow
  std::string local_model;    // of this machine, where -m names none; empty: the default one
  std::string remote_model;   // as providers are asked for it, where -m names none of theirs
  bool restart_on_stream_error = false;
  double deadline = 0;  // seconds that an answer may take in all; 0: any time
  CallLimits limits;    // of all providers
  BudgetCaps caps;
  std::optional<double> watts;          // of this machine at work
  std::optional<double> price_per_kwh;  // US dollars
};

// Errors name the file and the place in it.
Result<UserConfig> parse_user_config(const std::string& where, const std::string& json);

}  // namespace tern
