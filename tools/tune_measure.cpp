#include "tools/tune_measure.h"

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/parallel.h"
#include "engine/run/linear.h"

namespace tern::cli {
namespace {

constexpr int kRounds = 9;
constexpr int32_t kPromptTokens = 64;
// A candidate that takes so much longer than the fastest is not measured again after some turns; one of which generating alone
// takes so much longer than the fastest needs for all has no turn at all.
constexpr double kHopeless = 1.5;
constexpr size_t kFairTurns = 3;
constexpr double kUtterlyHopeless = 3.0;
// Matrices that are read at least this long in one measurement: short ones are repeated.
constexpr double kLeastSeconds = 2e-3;

// Products of a layer that have their input in common.
struct Step {
  int32_t cols = 0;
  std::vector<int32_t> rows;
};

std::array<Step, 4> steps_of(const TuneShape& shape) {
  return {Step{shape.width, {shape.q_width, shape.kv_width, shape.kv_width}},
          Step{shape.q_width, {shape.width}}, Step{shape.width, {shape.ffn, shape.ffn}},
          Step{shape.ffn, {shape.width}}};
}

// Bytes that are valid codes in every packing (as two_bit: no code 3), in all sorts of patterns. Speed does not depend on them.
AlignedBuffer some_codes(size_t size, int threads) {
  AlignedBuffer buffer(size);
  parallel_for(threads, static_cast<int64_t>(size), 64, [&](int64_t begin, int64_t end, int) {
    uint32_t state = static_cast<uint32_t>(begin) | 1;
    for (int64_t i = begin; i < end; ++i) {
      state = state * 1664525 + 1013904223;  // Numerical Recipes' generator
      const uint32_t bits = state >> 24;
      buffer.data()[i] = static_cast<std::byte>(bits & ~(bits >> 1 & 0x55));
    }
  });
  return buffer;
}

// The layers as a candidate's kernel reads them, from codes that all candidates share.
class Layers {
 public:
  Layers(const TuneShape& shape, const TuneCandidate& candidate, const AlignedBuffer& codes)
      : candidate_(candidate), steps_(steps_of(shape)) {
    const TernaryKernel& kernel = candidate.kernels->kernel(candidate.kind);
    const auto* at = reinterpret_cast<const uint8_t*>(codes.data());
    size_t scratch = 0;
    for (int32_t layer = 0; layer < shape.layers; ++layer) {
      for (const Step& step : steps_) {
        for (const int32_t rows : step.rows) {
          const TernaryMatrix matrix{at, &kScale, rows, step.cols, rows, step.cols, kernel.layout};
          linears_.push_back(Linear{matrix, &kernel, 1.0F});
          at += Arena::cost(packed_bytes(kernel.layout, rows, step.cols));
          scratch = std::max(scratch, kernel.scratch_bytes(step.cols, kPromptTokens));
        }
      }
    }
    const int threads = std::max(candidate.threads, candidate.batch_threads);
    scratch_ = ThreadScratch(threads, scratch);
    make_inputs();
  }

  double token_seconds() { return seconds(1, candidate_.threads, linears_.size()); }
  double token_seconds_of_layer() { return seconds(1, candidate_.threads, kMatrices); }
  // Of one layer for each of several tokens, which is bound by computing, so that one layer tells of all.
  double prompt_seconds_of_layer() {
    return seconds(kPromptTokens, candidate_.batch_threads, kMatrices) / kPromptTokens;
  }

 private:
  static constexpr size_t kMatrices = 7;  // of a layer
  static constexpr float kScale = 1.0F;

  void make_inputs() {
    int32_t most = 0;
    for (const Step& step : steps_) {
      const auto cols = static_cast<size_t>(step.cols);
      std::vector<float> x(cols);
      for (size_t i = 0; i < cols; ++i) {
        x[i] = static_cast<float>(i * 7919 % 255) - 127;
      }
      QuantizedRows& rows = inputs_.emplace_back(kPromptTokens, step.cols);
      for (int32_t t = 0; t < kPromptTokens; ++t) {
        rows.quantize(*candidate_.kernels, x.data(), t, kPromptTokens, step.cols, nullptr);
      }
      for (const int32_t count : step.rows) {
        most = std::max(most, count);
      }
    }
    for (AlignedArray<float>& y : outputs_) {
      y = AlignedArray<float>(static_cast<size_t>(kPromptTokens) * static_cast<size_t>(most));
    }
  }

  // Seconds of a pass over the first `matrices` (whole layers), repeated until it can be measured.
  double seconds(int32_t tokens, int threads, size_t matrices) {
    const Compute compute{candidate_.kernels, threads};
    const double started = steady_seconds();
    double passed = 0;
    int repeats = 0;
    for (; passed < kLeastSeconds; ++repeats) {
      parallel_region(threads, [&] { pass(compute, tokens, matrices); });
      passed = steady_seconds() - started;
    }
    return passed / repeats;
  }

  void pass(const Compute& compute, int32_t tokens, size_t matrices) {
    for (size_t next = 0; next < matrices;) {
      for (size_t i = 0; i < steps_.size(); ++i) {
        std::array<Product, 3> products;
        const size_t count = steps_[i].rows.size();
        for (size_t p = 0; p < count; ++p) {
          products[p] = Product{&linears_[next++], outputs_[p].data()};
        }
        const LinearInput in{nullptr, inputs_[i].view(tokens, steps_[i].cols), tokens};
        multiply(compute, in, std::span(products).first(count), scratch_);
      }
    }
  }

  const TuneCandidate& candidate_;
  std::array<Step, 4> steps_;
  std::vector<Linear> linears_;
  std::vector<QuantizedRows> inputs_;
  std::array<AlignedArray<float>, 3> outputs_;
  ThreadScratch scratch_;
};

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// What the turns of one candidate took.
struct Turns {
  std::vector<double> token;
  std::vector<double> prompt;
  bool over = false;  // not worth another turn
};

// `best`: seconds of the fastest job so far.
void take_turn(const TuneShape& shape, const AlignedBuffer& codes, double best,
               TuneCandidate& candidate, Turns& turns) {
  Layers layers(shape, candidate, codes);
  // The better of two: a program that takes the core for a moment must not decide.
  const double layer = std::min(layers.token_seconds_of_layer(), layers.token_seconds_of_layer());
  if (TuneCandidate::kJobTokens * layer * shape.layers > kUtterlyHopeless * best) {
    candidate.token_seconds = layer * shape.layers;
    turns.over = true;
    return;
  }
  turns.prompt.push_back(layers.prompt_seconds_of_layer() * shape.layers);
  turns.token.push_back(layers.token_seconds());
  candidate.prompt_seconds = median(turns.prompt);
  candidate.token_seconds = median(turns.token);
  turns.over = turns.token.size() >= kFairTurns && candidate.job_seconds() > kHopeless * best;
}

}  // namespace

int64_t TuneShape::weights() const {
  int64_t sum = 0;
  for (const Step& step : steps_of(*this)) {
    for (const int32_t rows : step.rows) {
      sum += int64_t{rows} * step.cols;
    }
  }
  return sum * layers;
}

size_t TuneShape::bytes(const PackedLayout& layout) const {
  size_t sum = 0;
  for (const Step& step : steps_of(*this)) {
    for (const int32_t rows : step.rows) {
      sum += Arena::cost(packed_bytes(layout, rows, step.cols));
    }
  }
  return sum * static_cast<size_t>(layers);
}

TuneShape cached_shape() {
  return {768, 768, 256, 2048, 2};  // 3 MB in two bits
}

// BitNet-b1.58-2B-4T's, 280 MB in two bits.
TuneShape streamed_shape() {
  return {2560, 2560, 640, 6912, 16};
}

TuneShape tune_shape_of(const ModelConfig& config) {
  TuneShape shape{config.width, config.q_width(), config.kv_width(), config.ffn, 1};
  const int64_t enough = streamed_shape().weights() / shape.weights();
  shape.layers = static_cast<int32_t>(std::clamp<int64_t>(enough, 1, config.layers));
  return shape;
}

void measure(const TuneShape& shape, std::vector<TuneCandidate>& candidates,
             const std::function<void(double)>& progress) {
  size_t bytes = 0;
  int threads = 1;
  for (const TuneCandidate& candidate : candidates) {
    const PackedLayout& layout = candidate.kernels->kernel(candidate.kind).layout;
    bytes = std::max(bytes, shape.bytes(layout));
    threads = std::max({threads, candidate.threads, candidate.batch_threads});
  }
  const AlignedBuffer codes = some_codes(bytes, threads);
  std::vector<Turns> turns(candidates.size());
  double best = std::numeric_limits<double>::infinity();
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < candidates.size(); ++i) {
      if (!turns[i].over) {
        take_turn(shape, codes, best, candidates[i], turns[i]);
        best = std::min(best, candidates[i].job_seconds());
      }
      progress((round + static_cast<double>(i + 1) / static_cast<double>(candidates.size())) /
               kRounds);
    }
  }
}

void choose_threads(const std::vector<TuneCandidate>& candidates, int by_default, double others,
                    Tuning& tuning) {
  tuning.threads = by_default;
  tuning.batch_threads = by_default;
  if (others > kMostOthers) {
    return;
  }
  const TuneCandidate* token = &candidates.front();
  const TuneCandidate* prompt = token;
  for (const TuneCandidate& candidate : candidates) {
    if (candidate.token_seconds * kClearGain < token->token_seconds) {
      token = &candidate;
    }
    if (candidate.prompt_seconds * kClearGain < prompt->prompt_seconds) {
      prompt = &candidate;
    }
  }
  tuning.threads = token->threads;
  tuning.batch_threads = prompt->batch_threads;
}

}  // namespace tern::cli
