#pragma once
// Logits of a model file as the runtime computes them, and how they differ from what they should be.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/arch/arch.h"
#include "engine/run/decoder.h"

namespace tern::testing {

// The runtime up to the decoder: what a Session does, without the text side.
class DecoderRunner {
 public:
  DecoderRunner(const TensorFile& file, const KernelTable& table, int threads,
                std::optional<Activations> activations = {}, HeadType head = HeadType::kAuto,
                const TernaryChoice& choice = {})
      : compute_{&table, threads}, weights_(file, table, threads, {}, choice) {
    std::vector<std::string> notices;
    config_ = read_config(file, notices).value();
    config_.activations = activations.value_or(config_.activations);
    decoder_ = bind_decoder(config_, weights_, head).value();
  }

  // tokens x vocab logits, `batch` tokens in a forward pass.
  std::vector<float> logits(std::span<const int32_t> tokens, int32_t batch) {
    const auto count = static_cast<int32_t>(tokens.size());
    KvCache cache(config_, count);
    Workspace workspace(config_, decoder_, compute_, cache, batch);
    std::vector<float> all;
    for (int32_t begin = 0; begin < count; begin += batch) {
      const int32_t some = std::min(batch, count - begin);
      decoder_forward(config_, decoder_, compute_, cache, workspace,
                      tokens.subspan(static_cast<size_t>(begin), static_cast<size_t>(some)), begin,
                      [] { return true; });
      for (int32_t i = 0; i < some; ++i) {
        const std::span<const float> row =
            decoder_logits(config_, decoder_, compute_, workspace, i, 1);
        all.insert(all.end(), row.begin(), row.end());
      }
    }
    return all;
  }

 private:
  Compute compute_;
  Weights weights_;
  ModelConfig config_;
  DecoderWeights decoder_;
};

// For each position the root of the mean squared difference of its logits, over that of `truth` at all positions; ascending.
template <class Logits, class Truth>
std::vector<double> differences(const Logits& logits, const Truth& truth, size_t vocab) {
  const auto mean_square = [](double sum, size_t count) {
    return sum / static_cast<double>(count);
  };
  double size = 0;
  for (const double t : truth) {
    size += t * t;
  }
  std::vector<double> all;
  for (size_t from = 0; from < truth.size(); from += vocab) {
    double difference = 0;
    for (size_t i = from; i < from + vocab; ++i) {
      const double d = double{logits[i]} - double{truth[i]};
      difference += d * d;
    }
    all.push_back(std::sqrt(mean_square(difference, vocab) / mean_square(size, truth.size())));
  }
  std::sort(all.begin(), all.end());
  return all;
}

inline double overall(const std::vector<double>& differences) {
  double sum = 0;
  for (const double d : differences) {
    sum += d * d;
  }
  return std::sqrt(sum / static_cast<double>(differences.size()));
}

}  // namespace tern::testing
