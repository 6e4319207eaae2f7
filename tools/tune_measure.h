#pragma once
// Measures ternary kernels on matrices of a model's shapes, for `tern tune`.

#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "engine/model/config.h"
#include "kernels/kernels.h"
#include "tools/tuning.h"

namespace tern::cli {

// The ternary matrices of one layer, and how many layers are read for a token while measuring: as many as it takes for the
// weights to stay in the caches, or not to.
struct TuneShape {
  int32_t width = 0;
  int32_t q_width = 0;
  int32_t kv_width = 0;
  int32_t ffn = 0;
  int32_t layers = 1;

  // Of all layers.
  int64_t weights() const;
  size_t bytes(const PackedLayout& layout) const;
};
// What fits the caches, and what outgrows them.
TuneShape cached_shape();
TuneShape streamed_shape();
// A model's, with no more layers than it takes to outgrow them.
TuneShape tune_shape_of(const ModelConfig& config);

// One way to compute, and how fast it is.
struct TuneCandidate {
  const KernelTable* kernels = nullptr;
  TernaryKind kind = TernaryKind::kTwoBit;
  int threads = 1;        // for generating
  int batch_threads = 1;  // for prompts

  // Infinite until measured; of a candidate far behind the others the prompt is not.
  double token_seconds = std::numeric_limits<double>::infinity();   // all layers for one token
  double prompt_seconds = std::numeric_limits<double>::infinity();  // for each token of a prompt

  static constexpr int kJobPrompt = 512;
  static constexpr int kJobTokens = 128;
  // What candidates are compared by: reading a prompt and generating an answer.
  double job_seconds() const { return kJobPrompt * prompt_seconds + kJobTokens * token_seconds; }
};

// What differs from the default, and more threads, must be faster by this much: less is lost in the noise of measurement.
constexpr double kClearGain = 1.03;
// CPUs that others may have kept busy for measured numbers of threads to count.
constexpr double kMostOthers = 0.15;

// Fills in the seconds of all candidates: medians over turns, which they take one after another, so that a machine that grows
// slower or faster meanwhile treats all alike. `progress` is called with the share done.
void measure(const TuneShape& shape, std::vector<TuneCandidate>& candidates,
             const std::function<void(double)>& progress);

// The smallest numbers of threads that no larger one clearly beats, for generating and for prompts. What is stored is the most
// that sessions use from then on, so where other programs kept more than kMostOthers CPUs busy it is `by_default`.
void choose_threads(const std::vector<TuneCandidate>& candidates, int by_default, double others,
                    Tuning& tuning);

}  // namespace tern::cli
