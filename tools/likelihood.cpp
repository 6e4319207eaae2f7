#include "tools/likelihood.h"

#include <algorithm>
#include <cmath>

namespace tern::cli {

double log_sum_exp(std::span<const float> logits) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) {
    sum += std::exp(static_cast<double>(logit - largest));
  }
  return std::log(sum) + static_cast<double>(largest);
}

double loss_of(std::span<const float> logits, TokenId token) {
  return log_sum_exp(logits) - static_cast<double>(logits[static_cast<size_t>(token)]);
}

TokenId likeliest(std::span<const float> logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

double Average::standard_error() const {
  const auto n = static_cast<double>(count_);
  const double variance = squares_ / n - mean() * mean();
  return count_ > 1 && variance > 0 ? std::sqrt(variance / (n - 1)) : 0;
}

}  // namespace tern::cli
