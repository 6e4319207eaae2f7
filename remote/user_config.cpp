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
    json.text("local_model", config.local_model);
    json.text("remote_model", config.remote_model);
    json.number("offload_after", config.offload_after, 0, kMostSeconds);
    json.flag("restart_on_stream_error", config.restart_on_stream_error);
    json.number("deadline", config.deadline, 0, kMostSeconds);
    json.object("timeouts", [&](StrictObject& times) {
      constexpr double kMostTimeout = 86'400;
      times.number("connect", config.limits.connect, 0, kMostTimeout);
      times.number("first_byte", config.limits.first_byte, 0, kMostTimeout);
      times.number("idle", config.limits.idle, 0, kMostTimeout);
      times.number("total", config.limits.total, 0, kMostTimeout);
    });
    if (json.has("retries")) {
      int64_t retries = 0;
      json.count("retries", retries, 10);
      config.limits.retries = retries;
    }
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
