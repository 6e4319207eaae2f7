#include "engine/run/sampler.h"

#include <algorithm>
#include <cmath>

namespace tern {
namespace {

// A context of more tokens than this has no more to say about repetition.
constexpr size_t kAllRecent = 1 << 16;

}  // namespace

Sampler::Sampler(const SamplingParams& params, int32_t vocab)
    : params_(params),
      all_(static_cast<size_t>(vocab)),
      recent_(params.repeat_last_n < 0 ? kAllRecent : static_cast<size_t>(params.repeat_last_n)),
      occurrences_(static_cast<size_t>(vocab)),
      random_(params.seed) {
  changed_.reserve(2 * static_cast<size_t>(HeadScreen::kMostLargest));
}

void Sampler::accept(int32_t token) {
  if (recent_.empty()) {
    return;
  }
  if (recent_count_ == recent_.size()) {
    --occurrences_[static_cast<size_t>(recent_[recent_next_])];
  } else {
    ++recent_count_;
  }
  recent_[recent_next_] = token;
  recent_next_ = (recent_next_ + 1) % recent_.size();
  ++occurrences_[static_cast<size_t>(token)];
}

int32_t Sampler::sample(std::span<const float> logits) {
  for (size_t i = 0; i < all_.size(); ++i) {
    all_[i] = {static_cast<int32_t>(i), logits[i], 0.0F};
  }
  kept_ = all_;
  for (const auto& [token, bias] : params_.logit_bias) {
    if (token >= 0 && static_cast<size_t>(token) < all_.size()) {
      all_[static_cast<size_t>(token)].logit += bias;
    }
  }
  penalize();
  if (params_.temperature <= 0.0F) {
    return greedy();
  }
  keep_top_k();
  to_probabilities();
  keep_top_p();
  keep_min_p();
  for (Candidate& candidate : kept_) {
    candidate.logit /= params_.temperature;
  }
  to_probabilities();
  return draw();
}

// Of the logits that stay as they are, the top_k largest can be chosen; of those that are changed, any.
LogitsWanted Sampler::wanted(std::span<const int32_t> next) {
  const int32_t chosen = params_.temperature <= 0.0F ? 1 : params_.top_k;
  const auto most = static_cast<size_t>(HeadScreen::kMostLargest);
  if (chosen <= 0 || params_.logit_bias.size() > most ||
      (penalizes() && recent_count_ + next.size() > most)) {
    return {};
  }
  changed_.clear();
  for (const auto& [token, bias] : params_.logit_bias) {
    if (token >= 0 && static_cast<size_t>(token) < all_.size()) {
      changed_.push_back(token);
    }
  }
  if (penalizes()) {
    changed_.insert(changed_.end(), recent_.begin(),
                    recent_.begin() + static_cast<std::ptrdiff_t>(recent_count_));
    changed_.insert(changed_.end(), next.begin(), next.end());
  }
  // Up to changed_.size() of the largest may be changed ones: so many more leave `chosen` unchanged ones.
  const int64_t largest = int64_t{chosen} + static_cast<int64_t>(changed_.size());
  return {static_cast<int32_t>(std::min<int64_t>(largest, HeadScreen::kMostLargest + 1)), changed_};
}

bool Sampler::penalizes() const {
  return params_.repeat_penalty != 1.0F || params_.presence_penalty != 0.0F ||
         params_.frequency_penalty != 0.0F;
}

void Sampler::penalize() {
  if (!penalizes()) {
    return;
  }
  const bool repeat = params_.repeat_penalty != 1.0F;
  for (Candidate& candidate : all_) {
    const int32_t times = occurrences_[static_cast<size_t>(candidate.token)];
    if (times == 0) {
      continue;
    }
    if (repeat) {
      // Dividing a negative logit would make the token likelier.
      candidate.logit = candidate.logit > 0 ? candidate.logit / params_.repeat_penalty
                                            : candidate.logit * params_.repeat_penalty;
    }
    candidate.logit -=
        params_.presence_penalty + params_.frequency_penalty * static_cast<float>(times);
  }
}

int32_t Sampler::greedy() const {
  return std::max_element(kept_.begin(), kept_.end(),
                          [](const Candidate& a, const Candidate& b) { return a.logit < b.logit; })
      ->token;
}

// Largest logits first; equal ones in order of tokens, so that the outcome does not depend on the library's sort.
void Sampler::keep_top_k() {
  const size_t count = params_.top_k <= 0
                           ? kept_.size()
                           : std::min(static_cast<size_t>(params_.top_k), kept_.size());
  std::partial_sort(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(count), kept_.end(),
                    [](const Candidate& a, const Candidate& b) {
                      return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
                    });
  kept_ = kept_.first(count);
}

void Sampler::to_probabilities() {
  const float largest = kept_.front().logit;
  double sum = 0;
  for (Candidate& candidate : kept_) {
    candidate.probability = std::exp(candidate.logit - largest);
    sum += static_cast<double>(candidate.probability);
  }
  for (Candidate& candidate : kept_) {
    candidate.probability = static_cast<float>(static_cast<double>(candidate.probability) / sum);
  }
}

// The fewest tokens whose probabilities reach top_p.
void Sampler::keep_top_p() {
  if (params_.top_p >= 1.0F) {
    return;
  }
  double sum = 0;
  for (size_t i = 0; i < kept_.size(); ++i) {
    sum += static_cast<double>(kept_[i].probability);
    if (sum >= static_cast<double>(params_.top_p)) {
      kept_ = kept_.first(i + 1);
      return;
    }
  }
}

// Tokens at least min_p times as likely as the likeliest.
void Sampler::keep_min_p() {
  const float least = params_.min_p * kept_.front().probability;
  size_t count = 1;
  while (count < kept_.size() && kept_[count].probability >= least) {
    ++count;
  }
  kept_ = kept_.first(count);
}

int32_t Sampler::draw() {
  // 53 random bits as a number in [0, 1): the same on every standard library, unlike its distributions.
  double at = static_cast<double>(random_() >> 11) * 0x1.0p-53;
  for (const Candidate& candidate : kept_) {
    at -= static_cast<double>(candidate.probability);
    if (at < 0) {
      return candidate.token;
    }
  }
  return kept_.back().token;
}

}  // namespace tern
