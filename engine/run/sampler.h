#pragma once
// From logits to the next token.

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "engine/api/message.h"
#include "engine/run/head_screen.h"

namespace tern {

// The chain, in llama.cpp's order: logit bias, penalties, top-k, top-p, min-p, temperature, draw. The same seed and the same
// logits give the same tokens on every machine. Allocates only in its constructor.
class Sampler {
 public:
  Sampler(const SamplingParams& params, int32_t vocab);

  // The next token; `logits` holds one value per token. Does not count it as seen: see accept().
  int32_t sample(std::span<const float> logits);
  // The logits that the next calls of sample() will look at; the others may be minus infinity. `next`: the tokens that may be
  // accepted between these calls. Valid until the next call.
  LogitsWanted wanted(std::span<const int32_t> next = {});
  // Counts a token (of the prompt, or one just sampled) for the penalties.
  void accept(int32_t token);

 private:
  struct Candidate {
    int32_t token;
    float logit;
    float probability;
  };

  bool penalizes() const;
  void penalize();
  int32_t greedy() const;
  void keep_top_k();
  void to_probabilities();
  void keep_top_p();
  void keep_min_p();
  int32_t draw();

  SamplingParams params_;
  std::vector<Candidate> all_;   // one per token of the vocabulary
  std::span<Candidate> kept_;    // the front of all_ that is still in play
  std::vector<int32_t> recent_;  // ring of the last tokens
  size_t recent_count_ = 0;
  size_t recent_next_ = 0;
  std::vector<int32_t> occurrences_;  // of each token within `recent_`
  std::vector<int32_t> changed_;      // tokens whose logits are biased or penalised
  std::mt19937_64 random_;
};

}  // namespace tern
