#pragma once
// How likely a model finds tokens, and means with their standard errors.

#include <cstdint>
#include <span>

#include "engine/model/tokenizer.h"

namespace tern::cli {

// log of the sum of exp(logits), in double precision.
double log_sum_exp(std::span<const float> logits);

// -log softmax(logits)[token]
double loss_of(std::span<const float> logits, TokenId token);

// The token of the largest logit; of equal ones the first.
TokenId likeliest(std::span<const float> logits);

// Kullback-Leibler divergence of softmax(logits) from softmax(base), in nats: how much is lost by predicting with the former where
// the latter is true. Not a number or infinite only if the logits are.
double kl_divergence(std::span<const float> base, std::span<const float> logits);

// The value below which a share of `fraction` of them lies, interpolated between neighbours. There must be one; sorted ascending.
double quantile(std::span<const double> sorted, double fraction);

// Mean and standard error (of a sample: divided by n - 1) of the numbers seen so far.
class Average {
 public:
  void add(double value) {
    ++count_;
    sum_ += value;
    squares_ += value * value;
  }
  int64_t count() const { return count_; }
  double mean() const { return sum_ / static_cast<double>(count_); }
  double standard_error() const;

 private:
  int64_t count_ = 0;
  double sum_ = 0;
  double squares_ = 0;
};

}  // namespace tern::cli
