#include "tools/cost_plan.h"

#include <algorithm>

#include "engine/base/number.h"

namespace tern::cli {
namespace {

std::optional<double> remote_dollars(const CostPlan& plan, const ProviderModel& model) {
  if (!model.price_in || !model.price_out) {
    return {};
  }
  const double in = plan.in_share.value_or(0);
  return plan.tokens * (in * *model.price_in + (1 - in) * *model.price_out) * 1e-6;
}

std::optional<LocalCost> local_cost(const CostPlan& plan) {
  const double in = plan.in_share.value_or(0);
  if (plan.generation_speed <= 0 || (in > 0 && plan.prompt_speed <= 0)) {
    return {};
  }
  constexpr double kMonth = 30 * 86'400.0;  // seconds
  const double seconds_per_token =
      (in > 0 ? in / plan.prompt_speed : 0) + (1 - in) / plan.generation_speed;
  LocalCost cost;
  cost.hours = plan.tokens * seconds_per_token / 3600;
  cost.kwh = cost.hours * plan.watts / 1000;
  cost.dollars = cost.kwh * plan.price_per_kwh;
  cost.most_tokens = kMonth / seconds_per_token;
  return cost;
}

void break_even(const CostPlan& plan, const LocalCost& local, RemoteCost& remote) {
  if (!remote.dollars) {
    return;
  }
  if (local.kwh > 0) {
    remote.even_price_per_kwh = *remote.dollars / local.kwh;
  }
  const double saved = *remote.dollars - local.dollars;
  if (saved > 0) {
    remote.even_tokens = plan.machine_cost / saved * plan.tokens;
  }
}

}  // namespace

CostTable plan_costs(const CostPlan& plan, const ProviderSet& providers) {
  CostTable table;
  table.local = local_cost(plan);
  for (const Provider& provider : providers.providers) {
    for (const ProviderModel& model : provider.models) {
      if (provider.kind == ProviderKind::kLocal) {
        continue;
      }
      RemoteCost cost{provider.name,
                      model.id,
                      remote_dollars(plan, model),
                      model.priced_on,
                      model.price_source,
                      {},
                      {}};
      if (table.local) {
        break_even(plan, *table.local, cost);
      }
      table.remote.push_back(std::move(cost));
    }
  }
  std::ranges::stable_sort(table.remote, [](const RemoteCost& a, const RemoteCost& b) {
    return a.dollars && (!b.dollars || *a.dollars < *b.dollars);
  });
  return table;
}

Result<double> parse_tokens(const std::string& text) {
  const std::string units = "kMB";
  const size_t unit = text.empty() ? std::string::npos : units.find(text.back());
  const double scale = unit == std::string::npos ? 1 : unit == 0 ? 1e3 : unit == 1 ? 1e6 : 1e9;
  const auto number =
      number_of(std::string_view(text).substr(0, text.size() - (scale > 1 ? 1 : 0)));
  if (!number || !(*number * scale >= 1) || *number * scale > 1e15) {
    return Error{"--tokens: expected a number such as 10M, 500k or 2B, found " + text + "."};
  }
  return *number * scale;
}

Result<double> parse_in_out(const std::string& text) {
  const size_t slash = text.find('/');
  if (slash != std::string::npos) {
    const auto in = number_of(std::string_view(text).substr(0, slash));
    const auto out = number_of(std::string_view(text).substr(slash + 1));
    if (in && out && *in >= 0 && *out >= 0 && *in + *out > 0) {
      return *in / (*in + *out);
    }
  }
  return Error{"--in-out: expected shares of prompts and answers such as 60/30, found " + text +
               "."};
}

}  // namespace tern::cli
