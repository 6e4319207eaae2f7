#pragma once
// What a call is entered into the ledger for before it is made, and what it is booked at when it has ended; pure functions.

#include "remote/api_outcome.h"
#include "remote/ledger.h"
#include "remote/route.h"

namespace tern {

// Where the user sets no limit but has a budget, an answer may have this many tokens: no more than every model can write, and
// little enough that calls beside this one find something left.
inline constexpr int64_t kAnswerUnderBudget = 4096;

// `model`: null if nothing is known of it. Under a budget a request without max_tokens can be made for less than its worst
// cost: see affordable_tokens.
PlannedCall planned_call(const RouteStep& step, const ProviderModel* model, const Request& request,
                         const BudgetCaps& caps);

// The max_tokens of a request that has none, so that it costs `granted` at most; -1: no limit is needed.
int32_t affordable_tokens(const ProviderModel* model, const Request& request,
                          const PlannedCall& call, NanoDollars granted);

// What it costs if no more comes than the `delivered` bytes.
std::optional<NanoDollars> likely_cost(const ProviderModel* model, const Request& request,
                                       size_t delivered);

// `delivered`: bytes of the answer that came. Attempts that were sent whole and not refused count their prompt:
// servers charge for what they have begun to work on.
SettledCall settled_call(const ProviderModel* model, const Request& request,
                         const ApiOutcome& outcome, size_t delivered);

}  // namespace tern
