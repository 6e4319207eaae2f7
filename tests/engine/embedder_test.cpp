// Embeddings of texts against transformers (tests/golden/families): normalised, by last-token and by mean pooling.

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "engine/session/embedder.h"
#include "kernels/select.h"
#include "tests/support/source_dir.h"
#include "tests/support/tested_table.h"

namespace tern {
namespace {

constexpr size_t kWidth = 32;
constexpr const char* kText = "the hen and the rain are in the barn again, on and on";

class EmbedderTest : public ::testing::Test {
 protected:
  void open(const std::string& name) {
    LoadOptions options;
    options.compute.kernels = &testing::tested_table();
    model_ = Model::load(testing::source_path("tests/golden/families/" + name), options).value();
  }
  Embedder embedder(Pooling pooling, bool normalize = true, int32_t context = 0) {
    SessionOptions options;
    options.context = context;
    options.batch = 7;  // a text takes several passes
    return {Session::create(model_, options).value(), pooling, normalize};
  }
  std::vector<float> embed(Embedder&& embedder) {
    const auto vector = embedder.embed(model_->tokenizer().encode(kText)).value();
    return {vector.begin(), vector.end()};
  }

  std::shared_ptr<const Model> model_;
};

std::vector<float> truth_of(const std::string& name, size_t which) {
  std::vector<float> all(2 * kWidth);
  std::ifstream in(testing::source_path("tests/golden/families/" + name + ".f32"),
                   std::ios::binary);
  in.read(reinterpret_cast<char*>(all.data()),
          static_cast<std::streamsize>(all.size() * sizeof(float)));
  EXPECT_TRUE(in && in.peek() == EOF);
  const auto from = all.begin() + static_cast<std::ptrdiff_t>(which * kWidth);
  return {from, from + kWidth};
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    sum += (double{a[i]} - double{b[i]}) * (double{a[i]} - double{b[i]});
  }
  return std::sqrt(sum);
}

TEST_F(EmbedderTest, VectorsAreThoseOfTransformers) {
  struct Case {
    const char* name;
    const char* path;
    double
        most;  // keys and values are rounded to halves here; ternary layers: int8 activations may differ by a step of 1/127
  };
  for (const Case& each : {Case{"qwen3-embedding", "qwen3-embedding.gguf", 1e-3},
                           Case{"gemma3-embedding", "gemma3-embedding.gguf", 0.02},
                           Case{"gemma3-embedding", "gemma3-embedding", 0.02}}) {
    SCOPED_TRACE(each.path);
    open(each.path);
    EXPECT_LT(distance(embed(embedder(Pooling::kLast)), truth_of(each.name, 0)), each.most);
    EXPECT_LT(distance(embed(embedder(Pooling::kMean)), truth_of(each.name, 1)), each.most);
  }
}

TEST_F(EmbedderTest, TakesPoolingFromTheFile) {
  open("qwen3-embedding.gguf");
  EXPECT_EQ(pooling_of(*model_).value(), Pooling::kLast);
  open("gemma3-embedding.gguf");  // says nothing
  EXPECT_FALSE(pooling_of(*model_).value().has_value());
  open("gemma3-embedding");  // a folder with 1_Pooling
  EXPECT_EQ(pooling_of(*model_).value(), Pooling::kLast);
}

// The mean of vectors that are not normalised, by its definition; and the first token's, which is that of the token alone.
TEST_F(EmbedderTest, PoolsByDefinition) {
  open("qwen3-embedding.gguf");
  const std::vector<TokenId> ids = model_->tokenizer().encode(kText);
  std::vector<double> mean(kWidth);
  Embedder last = embedder(Pooling::kLast, false);
  for (size_t count = 1; count <= ids.size(); ++count) {
    const auto vector = last.embed(std::span(ids).first(count)).value();
    for (size_t i = 0; i < kWidth; ++i) {
      mean[i] += double{vector[i]} / static_cast<double>(ids.size());
    }
  }
  const std::vector<float> found = embed(embedder(Pooling::kMean, false));
  for (size_t i = 0; i < kWidth; ++i) {
    EXPECT_NEAR(found[i], mean[i], 1e-5);
  }
  const auto alone = last.embed(std::span(ids).first(1)).value();
  const std::vector<float> first(alone.begin(), alone.end());
  EXPECT_EQ(embed(embedder(Pooling::kFirst, false)), first);
}

TEST_F(EmbedderTest, RefusesTextsThatDoNotFit) {
  open("qwen3-embedding.gguf");
  Embedder small = embedder(Pooling::kLast, true, 8);
  const auto refused = small.embed(model_->tokenizer().encode(kText));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("at most 8 tokens"), std::string::npos)
      << refused.error().message;
  EXPECT_FALSE(small.embed({}));
}

}  // namespace
}  // namespace tern
