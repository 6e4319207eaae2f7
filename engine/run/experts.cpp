#include "engine/run/experts.h"

#include <algorithm>
#include <cmath>

#include "engine/base/parallel.h"

namespace tern {
namespace {

class Pass {
 public:
  Pass(const ModelConfig& config, const Compute& compute, const ExpertWeights& weights,
       ExpertMemory& memory, QuantizedRows& quantized, ThreadScratch& scratch)
      : experts_(config.experts),
        width_(config.width),
        compute_(compute),
        weights_(weights),
        memory_(memory),
        quantized_(quantized),
        scratch_(scratch) {}

  // Shares: softmax over all experts, then scaled so that those of the chosen add up to 1. Of equal scores the first counts.
  void choose(int32_t token) {
    float* scores = memory_.scores.data() + int64_t{token} * experts_.count;
    float* end = scores + experts_.count;
    const float most = *std::max_element(scores, end);
    std::for_each(scores, end, [&](float& score) { score = std::exp(score - most); });
    float sum = 0;
    for (int32_t k = 0; k < experts_.used; ++k) {
      float* best = std::max_element(scores, end);
      const int64_t choice = int64_t{token} * experts_.used + k;
      memory_.chosen.data()[choice] = static_cast<int32_t>(best - scores);
      memory_.shares.data()[choice] = *best;
      sum += *best;
      *best = -1;  // below every exponential
    }
    for (int32_t k = 0; k < experts_.used; ++k) {
      memory_.shares.data()[int64_t{token} * experts_.used + k] /= sum;
    }
  }

  // Sorts the choices by expert; those of one expert stay in order.
  void group(int32_t tokens) {
    int32_t* first = memory_.first.data();
    std::fill_n(first, experts_.count + 1, 0);
    const int32_t choices = tokens * experts_.used;
    for (int32_t i = 0; i < choices; ++i) {
      ++first[memory_.chosen.data()[i] + 1];
    }
    for (int32_t e = 0; e < experts_.count; ++e) {
      first[e + 1] += first[e];
    }
    for (int32_t i = 0; i < choices; ++i) {
      memory_.order.data()[first[memory_.chosen.data()[i]]++] = i;
    }
    // Each now points behind its own, which is where the next begins.
    std::copy_backward(first, first + experts_.count, first + experts_.count + 1);
    first[0] = 0;
  }

  void run_expert(int32_t expert, const float* input, float* out) {
    const int32_t begin = memory_.first.data()[expert];
    const int32_t count = memory_.first.data()[expert + 1] - begin;
    if (count == 0) {
      return;
    }
    const int32_t* choices = memory_.order.data() + begin;
    const Linear gate = weights_.gate->of(expert);
    const Linear up = weights_.up->of(expert);
    const Linear down = weights_.down->of(expert);
    const bool ternary_input = gate.ternary() || up.ternary();
    for_each(count, width_, [&](int32_t i, [[maybe_unused]] int thread) {
      float* x = memory_.x.data() + int64_t{i} * width_;
      std::copy_n(input + int64_t{choices[i] / experts_.used} * width_, width_, x);
      if (ternary_input) {
        quantized_.quantize(*compute_.kernels, x, i, count, width_, floats_of(thread));
      }
    });
    const Product gate_up[] = {{&gate, memory_.gate.data()}, {&up, memory_.up.data()}};
    multiply(compute_, {memory_.x.data(), quantized_.view(count, width_), count}, gate_up,
             scratch_);
    for_each(count, 2 * int64_t{experts_.ffn},
             [&](int32_t i, int thread) { activate(i, count, thread, down.ternary()); });
    const Product output[] = {{&down, memory_.out.data()}};
    multiply(compute_, {memory_.gate.data(), quantized_.view(count, experts_.ffn), count}, output,
             scratch_);
    for_each(count, width_, [&](int32_t i, [[maybe_unused]] int thread) {
      const float share = memory_.shares.data()[choices[i]];
      const float* y = memory_.out.data() + int64_t{i} * width_;
      float* sum = out + int64_t{choices[i] / experts_.used} * width_;
      for (int32_t c = 0; c < width_; ++c) {
        sum[c] += share * y[c];
      }
    });
  }

  template <class Body>
  void for_each(int32_t count, int64_t values, Body body) {
    constexpr auto kFloat = static_cast<int64_t>(sizeof(float));
    parallel_for(compute_.threads_for(values * kFloat * count), count, 1,
                 [&](int64_t begin, int64_t end, int thread) {
                   for (int64_t i = begin; i < end; ++i) {
                     body(static_cast<int32_t>(i), thread);
                   }
                 });
  }

 private:
  float* floats_of(int thread) { return reinterpret_cast<float*>(scratch_.of(thread)); }

  void activate(int32_t row, int32_t count, int thread, bool quantize) {
    float* gate = memory_.gate.data() + int64_t{row} * experts_.ffn;
    float* up = memory_.up.data() + int64_t{row} * experts_.ffn;
    if (experts_.clamp > 0) {
      for (int32_t i = 0; i < experts_.ffn; ++i) {
        gate[i] = std::min(gate[i], experts_.clamp);
        up[i] = std::clamp(up[i], -experts_.clamp, experts_.clamp);
      }
    }
    compute_.kernels->silu_mul(gate, up, experts_.ffn);
    if (quantize) {
      quantized_.quantize(*compute_.kernels, gate, row, count, experts_.ffn, floats_of(thread));
    }
  }

  const Experts& experts_;
  int32_t width_;
  const Compute& compute_;
  const ExpertWeights& weights_;
  ExpertMemory& memory_;
  QuantizedRows& quantized_;
  ThreadScratch& scratch_;
};

}  // namespace

ExpertMemory::ExpertMemory(const ModelConfig& config, int32_t batch) {
  const Experts& experts = config.experts;
  if (experts.count == 0) {
    return;
  }
  const auto rows = static_cast<size_t>(batch);
  const auto written = rows * static_cast<size_t>(planes_of(config.activations));
  const auto width = static_cast<size_t>(config.width);
  const auto count = static_cast<size_t>(experts.count);
  const auto used = static_cast<size_t>(experts.used);
  const auto ffn = static_cast<size_t>(experts.ffn);
  scores = AlignedArray<float>(written * count);
  chosen = AlignedArray<int32_t>(rows * used);
  shares = AlignedArray<float>(rows * used);
  order = AlignedArray<int32_t>(rows * used);
  first = AlignedArray<int32_t>(count + 1);
  x = AlignedArray<float>(rows * width);
  out = AlignedArray<float>(written * width);
  gate = AlignedArray<float>(written * ffn);
  up = AlignedArray<float>(written * ffn);
}

size_t ExpertMemory::bytes(const ModelConfig& config, int64_t batch) {
  const Experts& experts = config.experts;
  const int64_t written =
      planes_of(config.activations) *
      (int64_t{experts.count} + config.width + 2 * int64_t{experts.ffn});  // by products
  return experts.count == 0
             ? 0
             : sizeof(float) * static_cast<size_t>(
                                   batch * (written + 3 * int64_t{experts.used} + config.width) +
                                   experts.count + 1);
}

void run_experts(const ModelConfig& config, const Compute& compute, const ExpertWeights& weights,
                 ExpertMemory& memory, QuantizedRows& quantized, ThreadScratch& scratch,
                 const float* input, float* out, int32_t tokens) {
  Pass pass(config, compute, weights, memory, quantized, scratch);
  pass.for_each(tokens, int64_t{config.experts.count} * config.experts.used,
                [&](int32_t token, int) { pass.choose(token); });
  pass.group(tokens);
  std::fill_n(out, int64_t{tokens} * config.width, 0.0F);
  for (int32_t expert = 0; expert < config.experts.count; ++expert) {
    pass.run_expert(expert, input, out);
  }
}

}  // namespace tern
