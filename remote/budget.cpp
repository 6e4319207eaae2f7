#include "remote/budget.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "remote/dialect_openai.h"

namespace tern {
namespace {

constexpr int64_t kMessageTokens = 16;  // what a template writes around a message

size_t prompt_bytes(const Request& request) {
  size_t bytes = request.extra.size();
  if (request.messages.empty()) {
    bytes += request.prompt.size();
  }
  for (const Message& message : request.messages) {
    bytes += message.role.size() + message.content.size() + message.extra.size();
  }
  return bytes;
}

int64_t message_count(const Request& request) {
  return static_cast<int64_t>(std::max<size_t>(1, request.messages.size()));
}

}  // namespace

NanoDollars nano_dollars(double amount) {
  constexpr double kMost = 9e9;  // dollars: what 63 bits of billionths hold
  return std::llround(std::clamp(amount, 0.0, kMost) * 1e9);
}

double dollars(NanoDollars nano) {
  return static_cast<double>(nano) * 1e-9;
}

std::string dollars_text(NanoDollars nano) {
  char text[48];
  const double amount = dollars(nano);
  const int digits = nano == 0 || amount >= 1 ? 2 : amount >= 0.01 ? 4 : amount >= 1e-5 ? 6 : 9;
  std::snprintf(text, sizeof text, "$%.*f", digits, amount);
  return text;
}

std::optional<Cost> cost_of(const ProviderModel& model, const TokenCounts& tokens) {
  if (!model.price_in || !model.price_out) {
    return {};
  }
  const int64_t cached = std::clamp<int64_t>(tokens.cached_tokens, 0, tokens.prompt_tokens);
  const double nano = (static_cast<double>(tokens.prompt_tokens - cached) * *model.price_in +
                       static_cast<double>(cached) * model.price_cached.value_or(*model.price_in) +
                       static_cast<double>(tokens.completion_tokens) * *model.price_out) *
                      1e3;
  constexpr double kMost = 4e18;  // two of them fit 63 bits
  return Cost{static_cast<NanoDollars>(std::llround(std::min(nano, kMost))),
              cached > 0 && !model.price_cached};
}

int64_t most_prompt_tokens(const Request& request) {
  return static_cast<int64_t>(prompt_bytes(request)) + kMessageTokens * message_count(request);
}

int64_t likely_prompt_tokens(const Request& request) {
  return estimated_tokens(prompt_bytes(request)) + 4 * message_count(request);
}

int64_t least_prompt_tokens(const Request& request) {
  return static_cast<int64_t>(prompt_bytes(request)) / 8 + 1;
}

std::optional<NanoDollars> worst_cost(const ProviderModel* model, const Request& request) {
  if (model == nullptr) {
    return {};
  }
  if (request.max_tokens < 0 && model->context == 0) {
    return {};
  }
  const int64_t answer = request.max_tokens >= 0 ? request.max_tokens : model->context;
  const auto cost = cost_of(*model, {most_prompt_tokens(request), 0, answer});
  return cost ? std::optional(cost->amount) : std::nullopt;
}

int64_t day_start(int64_t unix_ms) {
  using namespace std::chrono;  // NOLINT: units
  const sys_time<milliseconds> time{milliseconds(unix_ms)};
  return milliseconds(floor<days>(time).time_since_epoch()).count();
}

int64_t month_start(int64_t unix_ms) {
  using namespace std::chrono;  // NOLINT: units
  const year_month_day date(floor<days>(sys_time<milliseconds>(milliseconds(unix_ms))));
  const sys_days first(date.year() / date.month() / 1);
  return milliseconds(first.time_since_epoch()).count();
}

}  // namespace tern
