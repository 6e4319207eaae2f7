#pragma once
// What a number of tokens costs elsewhere and here: arithmetic over prices that the user's files hold.

#include <optional>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "remote/provider_file.h"

namespace tern::cli {

struct CostPlan {
  double tokens = 0;  // in a month
  std::optional<double>
      in_share;             // of the prompts, 0 to 1; none: all at the price (and speed) of answers
  double prompt_speed = 0;  // of this machine, tokens/s; 0: unknown
  double generation_speed = 0;  // likewise
  double watts = 0;
  double price_per_kwh = 0;  // US dollars
  double machine_cost = 0;   // US dollars, to be earned back
};

struct RemoteCost {
  std::string provider;
  std::string model;
  std::optional<double> dollars;  // none: the price is not known
  std::string priced_on;
  std::string source;
  // What electricity may cost until this machine is the dearer one; none: never cheaper, or not known.
  std::optional<double> even_price_per_kwh;
  // Tokens after which what is saved has paid for the machine; none: never.
  std::optional<double> even_tokens;
};

struct LocalCost {
  double hours = 0;
  double kwh = 0;
  double dollars = 0;
  double most_tokens = 0;  // in 30 days
};

struct CostTable {
  std::vector<RemoteCost> remote;  // cheapest first, unknown prices last
  std::optional<LocalCost> local;  // none: its speed is not known
};

CostTable plan_costs(const CostPlan& plan, const ProviderSet& providers);

// "10M", "500k", "2.5B", "1000000".
Result<double> parse_tokens(const std::string& text);
// "60/30": the share of the first; any two numbers.
Result<double> parse_in_out(const std::string& text);

}  // namespace tern::cli
