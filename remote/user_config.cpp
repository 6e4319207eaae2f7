#include "remote/user_config.h"

#include "remote/strict_json.h"

namespace tern {
namespace {

constexpr double kMostDollars = 1e9;
constexpr double kMostSeconds = 1e6;

void read_cap(StrictObject& json, const char* name, std::optional<NanoDollars>& cap) {
  std::optional<double> amount;
  json.number(name, amount, 0, kMostDollars);
  if (amount) {
    cap = nano_dollars(*amount);
  }
}

}  // namespace

Result<UserConfig> parse_user_config(const std::string& where, const std::string& text) {
  UserConfig config;
  RETURN_IF_ERROR(read_strict_json(where, text, [&](StrictObject& json) {
    json.text("route", config.route);
    json.text("provider", config.provider);
    json.flag("allow_remote", config.allow_remote);
    json.number("offload_after", config.offload_after, 0, kMostSeconds);
    json.flag("restart_on_stream_error", config.restart_on_stream_error);
    json.number("deadline", config.deadline, 0, kMostSeconds);
    json.object("budget", [&](StrictObject& budget) {
      read_cap(budget, "call", config.caps.call);
      read_cap(budget, "day", config.caps.day);
      read_cap(budget, "month", config.caps.month);
      budget.flag("allow_unknown_prices", config.caps.allow_unknown_prices);
    });
    json.object("power", [&](StrictObject& power) {
      power.number("watts", config.watts, 0, 1e6);
      power.number("price_per_kwh", config.price_per_kwh, 0, 1e3);
    });
  }));
  return config;
}

}  // namespace tern
