#include "engine/session/embedder.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace tern {

Result<std::optional<Pooling>> pooling_of(const Model& model) {
  const std::string key = model.config().architecture + ".pooling_type";
  ASSIGN_OR_RETURN(const std::optional<int64_t> kind, model.file().get_int(key));
  switch (kind.value_or(0)) {  // as the GGUF specification numbers them
    case 0:
      return std::optional<Pooling>();
    case 1:
      return std::optional(Pooling::kMean);
    case 2:
      return std::optional(Pooling::kFirst);
    case 3:
      return std::optional(Pooling::kLast);
    default:
      return Error{"key " + key + ": expected 0 (none), 1 (mean), 2 (cls) or 3 (last), found " +
                   std::to_string(*kind) + "."};
  }
}

Embedder::Embedder(Session session, Pooling pooling, bool normalize)
    : session_(std::move(session)),
      pooling_(pooling),
      normalize_(normalize),
      vector_(static_cast<size_t>(session_.model().config().width)),
      sum_(vector_.size()) {}

void Embedder::add(std::span<const float> states) {
  const size_t width = sum_.size();
  if (pooling_ == Pooling::kLast) {
    std::ranges::copy(states.last(width), sum_.begin());
    return;
  }
  for (size_t i = 0; i < states.size(); ++i) {
    sum_[i % width] += static_cast<double>(states[i]);
  }
}

Result<std::span<const float>> Embedder::embed(std::span<const TokenId> tokens) {
  if (tokens.empty()) {
    return Error{"Expected a text of at least one token, found an empty one."};
  }
  if (tokens.size() > static_cast<size_t>(session_.context())) {
    return Error{"Expected a text of at most " + std::to_string(session_.context()) +
                 " tokens, found " + std::to_string(tokens.size()) +
                 ". Use a longer context (-c), or cut the text."};
  }
  session_.rewind(0);
  std::ranges::fill(sum_, 0.0);
  // Tokens see only those before them: the first one's output needs no others.
  const bool first_only = pooling_ == Pooling::kFirst;
  session_.append_states(first_only ? tokens.first(1) : tokens,
                         [&](std::span<const float> states) { add(states); });
  double length = 0;
  for (const double value : sum_) {
    length += value * value;
  }
  const double mean = pooling_ == Pooling::kMean ? static_cast<double>(tokens.size()) : 1.0;
  const double divisor = normalize_ ? std::sqrt(length) : mean;
  std::ranges::transform(sum_, vector_.begin(), [&](double value) {
    return divisor > 0 ? static_cast<float>(value / divisor) : 0.0F;
  });
  return std::span<const float>(vector_);
}

}  // namespace tern
