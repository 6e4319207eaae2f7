#include "engine/arch/text_loss.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tern {
namespace {

// Words that small models of stories and large ones of everything have met alike.
constexpr std::string_view kText =
    "Once upon a time, there was a little girl. She loved to play in the park with her friends. "
    "One day, she saw a big "
    "dog.";
constexpr size_t kMostTokens = 32;

double loss_of(std::span<const float> logits, TokenId token) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) {
    sum += std::exp(static_cast<double>(logit - largest));
  }
  return std::log(sum) - static_cast<double>(logits[static_cast<size_t>(token)] - largest);
}

}  // namespace

double text_loss(const Model& model, int threads) {
  std::vector<TokenId> tokens = model.tokenizer().encode(kText, EncodeOptions{.add_special = true});
  tokens.resize(std::min(tokens.size(), kMostTokens));
  const auto count = static_cast<int32_t>(tokens.size());
  if (count < 2) {
    return std::numeric_limits<double>::infinity();
  }
  const Compute compute{&model.kernels(), threads};
  KvCache cache(model.config(), count);
  Workspace workspace(model.config(), model.decoder(), compute, cache, count);
  decoder_forward(model.config(), model.decoder(), compute, cache, workspace, tokens, 0,
                  [] { return true; });
  double sum = 0;
  for (int32_t i = 0; i + 1 < count; ++i) {
    sum += loss_of(decoder_logits(model.config(), model.decoder(), compute, workspace, i, 1),
                   tokens[static_cast<size_t>(i) + 1]);
  }
  return sum / (count - 1);
}

// Weights in a wrong order give the logits of random ones, whose loss is the logarithm of the vocabulary or more. Models that
// know any language stay below half of it: 4 nats of 11.8 with the vocabulary of Llama 3.
bool knows_text(const Model& model, double loss) {
  return loss < 0.7 * std::log(static_cast<double>(model.config().vocab));
}

}  // namespace tern
