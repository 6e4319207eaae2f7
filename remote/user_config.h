#pragma once
// ~/.config/tern/config.json: what a user has decided once for all.

#include <optional>
#include <string>

#include "engine/base/result.h"
#include "remote/budget.h"

namespace tern {

struct UserConfig {
  std::string route = "local";
  std::string provider;       // to be asked alone; empty: whom the route names
  bool allow_remote = false;  // prompts may leave this machine
  double offload_after = 0;   // seconds; 0: never for being slow
  bool restart_on_stream_error = false;
  double deadline = 0;  // seconds that an answer may take in all; 0: any time
  BudgetCaps caps;
  std::optional<double> watts;          // of this machine at work
  std::optional<double> price_per_kwh;  // US dollars
};

// Errors name the file and the place in it.
Result<UserConfig> parse_user_config(const std::string& where, const std::string& json);

}  // namespace tern
