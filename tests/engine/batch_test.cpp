// How tokens are cut into batches, and on how many threads they are computed, changes no bit of the logits. Speculation rests
// on it: what it verifies together, plain decoding computes one by one.

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <vector>

#include "engine/session/session.h"
#include "kernels/select.h"
#include "tests/support/source_dir.h"

namespace tern {
namespace {

constexpr int32_t kLength = 300;  // longer than segments of attention and chunks of dense products

std::shared_ptr<const Model> load(const KernelTable& table, const std::string& file) {
  LoadOptions options;
  options.compute = Compute{&table, 1};
  return Model::load(testing::source_path(file), options).value();
}

Session start(const std::shared_ptr<const Model>& model, int threads) {
  SessionOptions options;
  options.context = kLength;
  options.threads = threads;
  return std::move(Session::create(model, options)).value();
}

// Logits of all tokens, appended in pieces of the given sizes (repeated as often as needed).
std::vector<float> logits_in_pieces(Session& session, std::span<const TokenId> tokens,
                                    const std::vector<size_t>& pieces) {
  std::vector<float> all;
  for (size_t i = 0; !tokens.empty(); ++i) {
    const size_t count = std::min(pieces[i % pieces.size()], tokens.size());
    session.append_each(tokens.first(count), [&](std::span<const float> logits) {
      all.insert(all.end(), logits.begin(), logits.end());
      return true;
    });
    tokens = tokens.subspan(count);
  }
  return all;
}

class Batches : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const char* isa = std::getenv("TERN_ISA");
    const KernelTable* table = isa == nullptr ? &best_table() : find_table(isa);
    if (table == nullptr) {
      GTEST_SKIP() << "this CPU cannot run the table " << isa;
    }
    model_ = load(*table, GetParam());
    std::mt19937 random(1);
    for (int32_t i = 0; i < kLength; ++i) {
      tokens_.push_back(
          static_cast<TokenId>(random() % static_cast<uint32_t>(model_->config().vocab)));
    }
  }

  std::shared_ptr<const Model> model_;
  std::vector<TokenId> tokens_;
};

TEST_P(Batches, ChangeNoBit) {
  Session one = start(model_, 1);
  const std::vector<float> expected = logits_in_pieces(one, tokens_, {1});
  struct Way {
    std::vector<size_t> pieces;
    int threads;
  };
  for (const Way& way : {Way{{300}, 1}, Way{{2}, 2}, Way{{7, 8, 9}, 3}, Way{{33, 1, 64}, 2}}) {
    Session session = start(model_, way.threads);
    ASSERT_EQ(logits_in_pieces(session, tokens_, way.pieces), expected)
        << "pieces of " << way.pieces[0] << ", threads " << way.threads;
  }
}

// What was appended and rewound leaves no trace.
TEST_P(Batches, RewoundTokensLeaveNoTrace) {
  Session straight = start(model_, 1);
  const std::vector<float> expected = logits_in_pieces(straight, tokens_, {1});
  Session session = start(model_, 1);
  const auto vocab = static_cast<size_t>(model_->config().vocab);
  std::vector<TokenId> guesses;
  for (size_t at = 0; at < 100; ++at) {
    guesses.assign({tokens_[at]});
    while (guesses.size() < 1 + at % 6 && at + guesses.size() < tokens_.size()) {
      guesses.push_back(tokens_[at + guesses.size() / 2]);  // some right, some wrong
    }
    bool first = true;
    session.append_each(guesses, [&](std::span<const float> logits) {
      EXPECT_TRUE(!first || std::equal(logits.begin(), logits.end(),
                                       expected.begin() + static_cast<int64_t>(at * vocab)))
          << "position " << at;
      first = false;
      return at % 2 == 0;
    });
    session.rewind(static_cast<int32_t>(at) + 1);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, Batches,
    ::testing::Values("models/tern-tiny.gguf", "tests/golden/models/bitnet-b1.58-i2_s-q6_k.gguf",
                      "tests/golden/models/bitnet-25-i2_s.gguf",
                      "tests/golden/models/llama-tq2_0-groups.gguf",
                      "tests/golden/models/llama-k-quants.gguf",
                      "tests/golden/models/llama-q8_0.gguf", "tests/golden/models/llama-bf16.gguf",
                      "tests/golden/models/qwen3-tied-f16.gguf",
                      "tests/golden/hybrid/qwen35-i2_s.gguf"),
    [](const auto& test) {
      std::string name = std::filesystem::path(test.param).stem().string();
      std::replace_if(
          name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
      return name;
    });

}  // namespace
}  // namespace tern
