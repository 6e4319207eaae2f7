// tern cost: what was spent, by the ledger; and what a number of tokens would cost elsewhere and here.

#include <cstdio>
#include <nlohmann/json.hpp>

#include "engine/base/number.h"
#include "remote/ledger.h"
#include "remote/plain_line.h"
#include "remote/system_clock.h"
#include "remote/time_text.h"
#include "tools/cli.h"
#include "tools/cost_plan.h"
#include "tools/model_store.h"
#include "tools/remote_options.h"
#include "tools/table.h"

namespace tern::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kUsualWatts = 65;
constexpr double kUsualPrice = 0.15;  // US dollars a kWh

struct CostCommand {
  RemoteOptions remote;
  std::string since;
  std::string by;
  bool json = false;
  bool plan = false;
  bool settle = false;
  std::string tokens = "10M";
  std::string in_out;
  std::string model;  // of this machine, whose speed was measured
  std::optional<double> speed;
  std::optional<double> prompt_speed;
  std::optional<double> watts;
  std::optional<double> price_per_kwh;
  double machine_cost = 0;
};

std::string usd(double amount) {
  return dollars_text(nano_dollars(amount));
}

template <class... Values>
std::string format(const char* pattern, Values... values) {
  char text[256];
  std::snprintf(text, sizeof text, pattern, values...);
  return text;
}

// "7d", "12h", a day, or a time; empty: the beginning.
Result<int64_t> parse_since(const std::string& text) {
  if (text.empty()) {
    return int64_t{0};
  }
  const int64_t now = SystemClock().unix_ms();
  const auto number = number_of(std::string_view(text).substr(0, text.size() - 1));
  if (number && *number >= 0 && *number < 1e6 && (text.back() == 'd' || text.back() == 'h')) {
    return now - static_cast<int64_t>(*number * (text.back() == 'd' ? 86'400'000 : 3'600'000));
  }
  for (const char* end : {"", "T00:00:00Z"}) {
    if (const auto time = parse_iso_time(text + end)) {
      return *time;
    }
  }
  return Error{
      "--since: expected a day as 2026-01-31, a time as 2026-01-31T12:00:00Z, or a span as 7d or "
      "12h, found " +
      text + "."};
}

Result<LedgerGroup> parse_group(const std::string& by) {
  if (by.empty()) {
    return LedgerGroup::kAll;
  }
  if (by == "provider") {
    return LedgerGroup::kProvider;
  }
  if (by == "model") {
    return LedgerGroup::kModel;
  }
  if (by == "day") {
    return LedgerGroup::kDay;
  }
  return Error{"--by: expected provider, model or day, found " + by + "."};
}

// "1 call", "2 calls".
std::string counted(int64_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

// How far the figures are to be believed.
void print_doubts(int64_t unsettled, int64_t unpriced, int64_t estimated, int64_t upper_bounds) {
  const auto say = [](int64_t count, const char* what) {
    if (count > 0) {
      print_report_f("%s %s\n", counted(count, "call").c_str(), what);
    }
  };
  say(unsettled,
      "under way, or of a process that may still run: counted at the most that can be "
      "charged. `tern cost --settle` books them by an estimate.");
  say(unpriced, "without a known price: not counted.");
  say(estimated, "with estimated tokens.");
  say(upper_bounds,
      "with tokens from the provider's cache, counted at the full price: the cost is "
      "the most that can have been charged.");
}

// After booking what is left of calls whose process is gone.
Result<std::vector<LedgerSum>> read_sums(bool settle, int64_t since, LedgerGroup group) {
  ASSIGN_OR_RETURN(Ledger ledger, open_ledger());
  ASSIGN_OR_RETURN(const int64_t booked, ledger.settle_abandoned(SystemClock().unix_ms(), settle));
  if (booked > 0 || settle) {
    print_message_f("%s whose process is gone: booked by an estimate\n",
                    counted(booked, "call").c_str());
  }
  return ledger.sums(since, group);
}

Ending show_spent(const CostCommand& command) {
  ASSIGN_OR_RETURN(const int64_t since, parse_since(command.since));
  ASSIGN_OR_RETURN(const LedgerGroup group, parse_group(command.by));
  const auto sums = read_sums(command.settle, since, group);
  if (!sums) {
    return Failure{sums.error().message, FailureKind::kMachine};
  }
  Json list = Json::array();
  std::vector<std::vector<std::string>> rows = {
      {"", "CALLS", "FAILED", "PROMPT TOKENS", "ANSWER TOKENS", "COST", "FIRST TOKEN"}};
  int64_t unsettled = 0;
  int64_t unpriced = 0;
  int64_t estimated = 0;
  int64_t upper_bounds = 0;
  for (const LedgerSum& sum : *sums) {
    rows.push_back({plain_line(sum.group, 100), std::to_string(sum.calls),
                    std::to_string(sum.failed), std::to_string(sum.prompt_tokens),
                    std::to_string(sum.completion_tokens), dollars_text(sum.cost),
                    std::to_string(sum.mean_first_token_ms) + " ms"});
    list.push_back({{"group", sum.group},
                    {"calls", sum.calls},
                    {"failed", sum.failed},
                    {"unsettled", sum.unsettled},
                    {"unpriced", sum.unpriced},
                    {"estimated", sum.estimated},
                    {"upper_bounds", sum.upper_bounds},
                    {"prompt_tokens", sum.prompt_tokens},
                    {"cached_tokens", sum.cached_tokens},
                    {"completion_tokens", sum.completion_tokens},
                    {"cost_usd", dollars(sum.cost)},
                    {"mean_first_token_ms", sum.mean_first_token_ms}});
    unsettled += sum.unsettled;
    unpriced += sum.unpriced;
    estimated += sum.estimated;
    upper_bounds += sum.upper_bounds;
  }
  if (command.json) {
    print_json(list);
    return {};
  }
  if (sums->empty()) {
    print_report_f("No calls in %s.\n", ledger_path().c_str());
    return {};
  }
  print_table(rows);
  print_doubts(unsettled, unpriced, estimated, upper_bounds);
  return {};
}

// None where nobody has measured it. A plan needs no ledger.
std::optional<Speed> measured_speed(const std::string& path) {
  Result<Ledger> ledger = open_ledger();
  const auto speed = ledger ? ledger->speed(path) : ledger.error();
  if (!speed) {
    print_notice(speed.error().message);
    return {};
  }
  return *speed;
}

Result<CostPlan> plan_of(const CostCommand& command, const RemoteSettings& settings) {
  CostPlan plan;
  ASSIGN_OR_RETURN(plan.tokens, parse_tokens(command.tokens));
  if (!command.in_out.empty()) {
    ASSIGN_OR_RETURN(plan.in_share, parse_in_out(command.in_out));
  }
  plan.watts = command.watts.value_or(settings.config.watts.value_or(kUsualWatts));
  plan.price_per_kwh =
      command.price_per_kwh.value_or(settings.config.price_per_kwh.value_or(kUsualPrice));
  plan.machine_cost = command.machine_cost;
  const Result<std::string> path =
      command.model.empty() ? default_model_path() : resolve_model(command.model);
  if (!path && !command.model.empty()) {
    return path.error();
  }
  if (const std::optional<Speed> measured = path ? measured_speed(*path) : std::nullopt) {
    plan.prompt_speed = measured->prompt;
    plan.generation_speed = measured->generation;
  }
  plan.generation_speed = command.speed.value_or(plan.generation_speed);
  plan.prompt_speed = command.prompt_speed.value_or(
      command.speed && plan.prompt_speed <= 0 ? *command.speed : plan.prompt_speed);
  return plan;
}

Json json_of(const CostPlan& plan, const CostTable& table) {
  const auto optional = [](const std::optional<double>& value) {
    return value ? Json(*value) : Json();
  };
  Json remote = Json::array();
  for (const RemoteCost& cost : table.remote) {
    remote.push_back({{"provider", cost.provider},
                      {"model", cost.model},
                      {"cost_usd", optional(cost.dollars)},
                      {"price_date", cost.priced_on},
                      {"price_source", cost.source},
                      {"break_even_usd_per_kwh", optional(cost.even_price_per_kwh)},
                      {"break_even_tokens", optional(cost.even_tokens)}});
  }
  Json local;
  if (table.local) {
    local = {{"hours", table.local->hours},
             {"kwh", table.local->kwh},
             {"cost_usd", table.local->dollars},
             {"most_tokens_in_30_days", table.local->most_tokens},
             {"tokens_per_second", plan.generation_speed},
             {"prompt_tokens_per_second", plan.prompt_speed},
             {"watts", plan.watts},
             {"usd_per_kwh", plan.price_per_kwh}};
  }
  return {{"tokens", plan.tokens},
          {"in_share", optional(plan.in_share)},
          {"remote", remote},
          {"local", local}};
}

void print_plan(const CostPlan& plan, const CostTable& table) {
  std::vector<std::vector<std::string>> rows = {
      {"PROVIDER", "MODEL", "COST", "AGAINST LOCAL", "EVEN AT USD/KWH", "PRICED ON", "SOURCE"}};
  if (plan.machine_cost > 0) {
    rows.front().insert(rows.front().begin() + 5, "MACHINE PAID AFTER");
  }
  for (const RemoteCost& cost : table.remote) {
    const bool known = table.local && cost.dollars && table.local->dollars > 0;
    std::vector<std::string> row = {
        cost.provider,
        cost.model,
        cost.dollars ? usd(*cost.dollars) : "unknown",
        known ? format("%.1f x", *cost.dollars / table.local->dollars) : "-",
        cost.even_price_per_kwh ? format("%.2f", *cost.even_price_per_kwh) : "-",
        cost.priced_on.empty() ? "-" : cost.priced_on,
        cost.source.empty() ? "-" : cost.source};
    if (plan.machine_cost > 0) {
      row.insert(row.begin() + 5, cost.even_tokens
                                      ? format("%.1fM tokens", *cost.even_tokens * 1e-6)
                                      : std::string("never"));
    }
    rows.push_back(std::move(row));
  }
  if (table.local) {
    std::vector<std::string> row = {"local",
                                    "this machine",
                                    usd(table.local->dollars),
                                    "1.0 x",
                                    format("%.2f", plan.price_per_kwh),
                                    "-",
                                    "electricity alone"};
    if (plan.machine_cost > 0) {
      row.insert(row.begin() + 5, "-");
    }
    rows.push_back(std::move(row));
  }
  print_report_f("%.6g million tokens, %s\n", plan.tokens * 1e-6,
                 plan.in_share ? format("%.1f %% of them prompts", *plan.in_share * 100).c_str()
                               : "all at the price of answers");
  print_table(rows);
  if (table.local) {
    print_report_f(
        "local: %.1f hours at %.1f tokens/s (prompts %.1f), %.0f W, %.2f kWh at $%.2f; at most "
        "%.1fM "
        "tokens in 30 days\n",
        table.local->hours, plan.generation_speed, plan.prompt_speed, plan.watts, table.local->kwh,
        plan.price_per_kwh, table.local->most_tokens * 1e-6);
  } else {
    print_report_f(
        "local: its speed is not known. Give --speed TOKENS_PER_SECOND (tern bench measures it), "
        "or "
        "run once with --route auto.\n");
  }
  print_report_f("Prices are entries of providers.json, as old as their dates; check them.\n");
}

Ending show_plan(const CostCommand& command) {
  ASSIGN_OR_RETURN(const RemoteSettings settings, command.remote.settings());
  ASSIGN_OR_RETURN(const CostPlan plan, plan_of(command, settings));
  const CostTable table = plan_costs(plan, settings.providers);
  if (command.json) {
    print_json(json_of(plan, table));
  } else {
    print_plan(plan, table);
  }
  return {};
}

}  // namespace

Action declare_cost(CLI::App& app) {
  const auto command = std::make_shared<CostCommand>();
  app.add_option("--since", command->since, "Calls from then on: 2026-01-31, 7d, 12h")
      ->type_name("TIME");
  app.add_option("--by", command->by, "One line for each provider, model or day")
      ->type_name("WHAT");
  app.add_flag("--json", command->json, "As JSON");
  app.add_flag("--settle", command->settle,
               "Book open calls by an estimate, also those of which it is not known whether their "
               "process still runs");
  app.add_flag("--plan", command->plan, "What tokens would cost, elsewhere and here");
  app.add_option("--tokens", command->tokens, "With --plan: how many, as 10M")->type_name("N");
  app.add_option("--in-out", command->in_out,
                 "With --plan: shares of prompts and answers, as 60/30; default: all answers")
      ->type_name("IN/OUT");
  app.add_option("-m,--model", command->model, "With --plan: the model here, by measured speed")
      ->type_name("MODEL");
  app.add_option("--speed", command->speed, "With --plan: tokens/s here; default: as measured")
      ->check(in_range(1e-3, 1e9));
  app.add_option("--prompt-speed", command->prompt_speed, "The same for reading prompts")
      ->check(in_range(1e-3, 1e9));
  app.add_option("--watts", command->watts, "With --plan: what this machine draws; default: 65")
      ->check(in_range(0.0, 1e6));
  app.add_option("--kwh-price", command->price_per_kwh,
                 "With --plan: US dollars a kWh; default: 0.15")
      ->check(in_range(0.0, 1e3));
  app.add_option("--machine-cost", command->machine_cost,
                 "With --plan: US dollars to be earned back")
      ->check(in_range(0.0, 1e9));
  command->remote.declare_providers_file(app);
  return [command] { return command->plan ? show_plan(*command) : show_spent(*command); };
}

}  // namespace tern::cli
