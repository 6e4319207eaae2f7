#include "remote/booking.h"

#include <algorithm>
#include <cmath>

#include "remote/api_error.h"
#include "remote/dialect_openai.h"

namespace tern {
namespace {

constexpr int64_t kLeastAnswer = 16;  // tokens; a shorter one is of no use

bool is_priced(const ProviderModel* model) {
  return model != nullptr && model->price_in && model->price_out;
}

int64_t answer_under_budget(const ProviderModel& model) {
  return model.context > 0 ? std::min(kAnswerUnderBudget, model.context) : kAnswerUnderBudget;
}

}  // namespace

PlannedCall planned_call(const RouteStep& step, const ProviderModel* model, const Request& request,
                         const BudgetCaps& caps) {
  PlannedCall call;
  call.provider = step.provider;
  call.model = step.model;
  call.worst = worst_cost(model, request);
  call.likely_prompt_tokens = likely_prompt_tokens(request);
  call.likely = likely_cost(model, request, 0);
  if (caps.any() && request.max_tokens < 0 && is_priced(model)) {
    const int64_t prompt = most_prompt_tokens(request);
    const int64_t answer = answer_under_budget(*model);
    call.worst = cost_of(*model, {.prompt_tokens = prompt, .completion_tokens = answer})->amount;
    call.least = cost_of(*model, {.prompt_tokens = prompt,
                                  .completion_tokens = std::min(kLeastAnswer, answer)})
                     ->amount;
  }
  return call;
}

int32_t affordable_tokens(const ProviderModel* model, const Request& request,
                          const PlannedCall& call, NanoDollars granted) {
  if (!call.least) {
    return -1;
  }
  const int64_t most = answer_under_budget(*model);
  const double nano_each = *model->price_out * 1e3;
  const NanoDollars for_prompt =
      cost_of(*model, {.prompt_tokens = most_prompt_tokens(request)})->amount;
  const double left = static_cast<double>(granted - for_prompt);
  const double affordable = nano_each > 0 ? left / nano_each : static_cast<double>(most);
  return static_cast<int32_t>(std::clamp(std::floor(affordable), 1.0, static_cast<double>(most)));
}

std::optional<NanoDollars> likely_cost(const ProviderModel* model, const Request& request,
                                       size_t delivered) {
  if (!is_priced(model)) {
    return {};
  }
  return cost_of(*model, {.prompt_tokens = likely_prompt_tokens(request),
                          .completion_tokens = estimated_tokens(delivered)})
      ->amount;
}

SettledCall settled_call(const ProviderModel* model, const Request& request,
                         const ApiOutcome& outcome, size_t delivered) {
  SettledCall call;
  // An answer that broke off was paid for, even where the backend does not count attempts.
  const int64_t broken =
      std::max<int64_t>(outcome.unanswered, outcome.error && delivered > 0 ? 1 : 0);
  call.prompt_tokens = broken * likely_prompt_tokens(request);
  call.estimated = broken > 0;
  if (outcome.error) {
    call.error = name_of(outcome.error->kind);
    call.request_id = outcome.error->request_id;
    call.completion_tokens = estimated_tokens(delivered);
  } else {
    const Usage& usage = outcome.completion.usage;
    call.request_id = outcome.completion.served.request_id;
    call.prompt_tokens += usage.prompt_tokens;
    call.cached_tokens = outcome.cached_tokens;
    call.completion_tokens = usage.completion_tokens;
    call.estimated = call.estimated || usage.estimated;
  }
  const TokenCounts counts{call.prompt_tokens, call.cached_tokens, call.completion_tokens};
  if (counts.prompt_tokens + counts.completion_tokens == 0) {
    call.cost = 0;
  } else if (const auto cost = is_priced(model) ? cost_of(*model, counts) : std::nullopt) {
    call.cost = cost->amount;
    call.cost_is_upper_bound = cost->is_upper_bound;
  }
  return call;
}

}  // namespace tern
