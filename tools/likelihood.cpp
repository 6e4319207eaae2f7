#include "tools/likelihood.h"

#include <algorithm>
#include <cmath>

namespace tern::cli {

double log_sum_exp(std::span<const float> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double logit : logits) {
    sum += std::exp(logit - largest);
  }
  return std::log(sum) + largest;
}

double loss_of(std::span<const float> logits, TokenId token) {
  return log_sum_exp(logits) - static_cast<double>(logits[static_cast<size_t>(token)]);
}

TokenId likeliest(std::span<const float> logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

double kl_divergence(std::span<const float> base, std::span<const float> logits) {
  const double base_total = log_sum_exp(base);
  const double total = log_sum_exp(logits);
  double sum = 0;
  for (size_t i = 0; i < base.size(); ++i) {
    const double log_probability = static_cast<double>(base[i]) - base_total;
    sum += std::exp(log_probability) * (log_probability - (static_cast<double>(logits[i]) - total));
  }
  // Never negative but by rounding. Not std::max: what is not a number has to stay so.
  return sum < 0 ? 0 : sum;
}

double quantile(std::span<const double> sorted, double fraction) {
  const double place = fraction * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - std::floor(place)) * (sorted[above] - sorted[below]);
}

double Average::standard_error() const {
  const auto n = static_cast<double>(count_);
  const double variance = squares_ / n - mean() * mean();
  return count_ > 1 && variance > 0 ? std::sqrt(variance / (n - 1)) : 0;
}

}  // namespace tern::cli
