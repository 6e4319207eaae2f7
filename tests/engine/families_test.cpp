// The architectures beside bitnet, llama and qwen3 against transformers: logits of a text longer than the window and than a segment
// of attention, each from a GGUF file, from the folder of the same weights (tests/golden/families), and as llama.cpp converts it
// (tests/golden/llama_cpp).

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "kernels/select.h"
#include "tests/support/logits.h"
#include "tests/support/source_dir.h"
#include "tests/support/tested_table.h"

namespace tern::testing {
namespace {

const std::filesystem::path kFolder = source_path("tests/golden/families");
constexpr int32_t kCount = 300;
constexpr int32_t kPositions[] = {5, 20, 100, 255, 256, 257, 280, 299};
constexpr size_t kVocab = 272;

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
      : file(TensorFile::open(kFolder / path).value()),
        run(file, testing::tested_table(), threads) {}

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

// Files that llama.cpp's own converter made of such folders: what it writes no key for (windows of all layers but every n-th, the scale of
// scores, rows of queries and keys in pairs) is to be known from the architecture.
TEST(Families, FilesOfLlamaCppsConverterComputeTheSame) {
  for (const std::string name : {"minicpm", "gemma3", "hunyuan-dense", "cohere2"}) {
    SCOPED_TRACE(name);
    const std::string own = "../llama_cpp/" + name;  // of a configuration that a GGUF file can say
    const bool has_own = std::filesystem::exists(kFolder / (own + ".f32"));
    const std::vector<float> truth = truth_of(has_own ? own : name, std::size(kPositions) * kVocab);
    const std::vector<float> logits = Opened(own + ".gguf", 1).run.logits(tokens(kCount), kCount);
    EXPECT_LT(differences(at_positions(logits), truth, kVocab).back(), 1e-3);
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

}  // namespace
}  // namespace tern::testing
