#pragma once
// Money: what a call may cost at most, what it did cost, and what may be spent.

#include <cstdint>
#include <optional>
#include <string>

#include "engine/api/message.h"
#include "remote/provider.h"

namespace tern {

// Billionths of a US dollar. A price of one dollar a million tokens is 1000 of them a token; sums are exact.
using NanoDollars = int64_t;

struct BudgetCaps {
  std::optional<NanoDollars> call;
  std::optional<NanoDollars> day;    // of UTC
  std::optional<NanoDollars> month;  // likewise
  bool allow_unknown_prices = false;

  bool any() const { return call || day || month; }
};

NanoDollars nano_dollars(double dollars);
double dollars(NanoDollars nano);
// "$0.0042", with as many digits as it takes to see something.
std::string dollars_text(NanoDollars nano);

struct TokenCounts {
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  // those of the prompt that the server took from its cache
  int64_t completion_tokens = 0;
};

struct Cost {
  NanoDollars amount = 0;
  // Tokens from a cache are cheaper, but their price is not known: they count as the others do.
  bool is_upper_bound = false;
};

// None: the price is not known.
std::optional<Cost> cost_of(const ProviderModel& model, const TokenCounts& tokens);

// The most tokens that a request's prompt can be: no tokenizer of bytes makes more tokens than there are bytes; a few more
// for what templates add.
int64_t most_prompt_tokens(const Request& request);
// A guess at it, for choosing who is asked: a token for four bytes.
int64_t likely_prompt_tokens(const Request& request);
// The fewest that a text as people and programs write it comes to: a token for eight bytes.
// (English prose has four to five of them in one, code with its runs of spaces six, Chinese up to
// six.)
int64_t least_prompt_tokens(const Request& request);

// The most that a request can cost: prompt and max_tokens, or without a limit all that the model's context has room for.
// None: nobody knows.
std::optional<NanoDollars> worst_cost(const ProviderModel* model, const Request& request);

// The span of time of the day or month (of UTC) that `unix_ms` lies in: its first millisecond.
int64_t day_start(int64_t unix_ms);
int64_t month_start(int64_t unix_ms);

}  // namespace tern
