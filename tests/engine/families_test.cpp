// The architectures beside bitnet, llama and qwen3 against transformers: logits of a text longer than the window and than a segment
// of attention, embeddings, each from a GGUF file and from the folder of the same weights (tests/golden/families).

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "kernels/select.h"
#include "tests/support/logits.h"
#include "tests/support/source_dir.h"

namespace tern::testing {
namespace {

const std::filesystem::path kFolder = source_path("tests/golden/families");
constexpr int32_t kCount = 300;
constexpr int32_t kPositions[] = {5, 20, 100, 255, 256, 257, 280, 299};
constexpr int32_t kEmbedded = 40;  // tokens of an embedded text
constexpr size_t kVocab = 272;
constexpr size_t kWidth = 32;

std::vector<int32_t> tokens(int32_t count) {
  std::vector<int32_t> all(static_cast<size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  std::ranges::transform(all, all.begin(), [](int32_t i) { return (7 * i * i + 3 * i) % 268; });
  return all;
}

std::vector<float> truth_of(const std::string& name, size_t count) {
  std::vector<float> values(count);
  std::ifstream in(kFolder / (name + ".f32"), std::ios::binary);
  in.read(reinterpret_cast<char*>(values.data()),
          static_cast<std::streamsize>(count * sizeof(float)));
  EXPECT_TRUE(in && in.peek() == EOF) << name << ".f32 does not hold " << count << " floats";
  return values;
}

// A file and what runs on it.
struct Opened {
  Opened(const std::string& path, int threads)
      : file(TensorFile::open(kFolder / path).value()), run(file, best_table(), threads) {}

  TensorFile file;
  DecoderRunner run;
};

std::vector<float> at_positions(const std::vector<float>& logits) {
  std::vector<float> some;
  for (const int32_t position : kPositions) {
    const auto from = logits.begin() + static_cast<std::ptrdiff_t>(position * int64_t{kVocab});
    some.insert(some.end(), from, from + kVocab);
  }
  return some;
}

TEST(Families, LogitsOfLongTextsAreThoseOfTransformers) {
  for (const std::string name : {"minicpm", "gemma3", "hunyuan-dense", "cohere2"}) {
    const std::vector<float> truth = truth_of(name, std::size(kPositions) * kVocab);
    for (const std::string& path : {name + ".gguf", name}) {
      SCOPED_TRACE(path);
      const std::vector<float> prefill = Opened(path, 1).run.logits(tokens(kCount), kCount);
      // Keys and values are rounded to halves here.
      EXPECT_LT(differences(at_positions(prefill), truth, kVocab).back(), 1e-3);
      const std::vector<float> split = Opened(path, 2).run.logits(tokens(kCount), 9);
      EXPECT_LT(differences(at_positions(split), truth, kVocab).back(), 1e-3);
    }
  }
}

// The same bits in whatever batches a text comes, also where windows begin in the middle of them.
TEST(Families, BatchesChangeNoBitOfWindowedLayers) {
  for (const std::string name : {"gemma3.gguf", "cohere2.gguf"}) {
    const std::vector<float> whole = Opened(name, 1).run.logits(tokens(kCount), kCount);
    EXPECT_EQ(Opened(name, 2).run.logits(tokens(kCount), 1), whole) << name;
    EXPECT_EQ(Opened(name, 1).run.logits(tokens(kCount), 31), whole) << name;
  }
}

double cosine(const float* a, const float* b) {
  double dot = 0;
  double aa = 0;
  double bb = 0;
  for (size_t i = 0; i < kWidth; ++i) {
    dot += double{a[i]} * double{b[i]};
    aa += double{a[i]} * double{a[i]};
    bb += double{b[i]} * double{b[i]};
  }
  return dot / std::sqrt(aa * bb);
}

// The last layer's normed output, by last-token and by mean pooling, as published embedding models are used.
TEST(Families, StatesOfEmbeddingModelsAreThoseOfTransformers) {
  const std::pair<std::string, std::string> models[] = {
      {"qwen3-embedding", "qwen3-embedding.gguf"},  // float layers
      {"gemma3-embedding",
       "gemma3-embedding.gguf"},  // ternary ones: int8 activations may differ by a step
      {"gemma3-embedding", "gemma3-embedding"}};
  for (const auto& [name, path] : models) {
    SCOPED_TRACE(path);
    const std::vector<float> truth = truth_of(name, 2 * kWidth);
    const std::vector<float> states = Opened(path, 1).run.states(tokens(kEmbedded), 7);
    std::vector<float> mean(kWidth);
    for (size_t i = 0; i < states.size(); ++i) {
      mean[i % kWidth] += states[i];
    }
    const double least = name == "qwen3-embedding" ? 1 - 1e-6 : 0.999;
    EXPECT_GT(cosine(states.data() + (kEmbedded - 1) * kWidth, truth.data()), least);
    EXPECT_GT(cosine(mean.data(), truth.data() + kWidth), least);
  }
}

}  // namespace
}  // namespace tern::testing
