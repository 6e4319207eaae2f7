// The default model (models/tern-tiny.gguf) through Model and Session: its logits against those that the training side computed
// for the same file in numpy (tests/golden/tern-tiny-logits.json), and against the slow model.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "engine/session/session.h"
#include "kernels/select.h"
#include "tests/support/logits.h"
#include "tests/support/slow_model.h"
#include "tests/support/source_dir.h"

namespace tern {
namespace {

std::shared_ptr<const Model> load(const KernelTable& table, HeadType head = HeadType::kAuto) {
  LoadOptions options;
  options.head = head;
  options.compute = Compute{&table, 1};
  return Model::load(testing::source_path("models/tern-tiny.gguf"), options).value();
}

Session start(std::shared_ptr<const Model> model) {
  SessionOptions options;
  options.context = 256;
  return std::move(Session::create(std::move(model), options)).value();
}

std::vector<float> logits_of_each(Session& session, std::span<const int32_t> tokens) {
  std::vector<float> all;
  EXPECT_TRUE(session.append_each(tokens, [&](std::span<const float> logits) {
    all.insert(all.end(), logits.begin(), logits.end());
    return true;
  }));
  return all;
}

int32_t best(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

class DefaultModel : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* isa = std::getenv("TERN_ISA");
    table_ = isa == nullptr ? &best_table() : find_table(isa);
    if (table_ == nullptr) {
      GTEST_SKIP() << "this CPU cannot run the table " << isa;
    }
    golden_ = nlohmann::json::parse(
        std::ifstream(testing::source_path("tests/golden/tern-tiny-logits.json")));
    tokens_ = golden_["tokens"].get<std::vector<int32_t>>();
  }

  const KernelTable* table_ = nullptr;
  nlohmann::json golden_;
  std::vector<int32_t> tokens_;
};

// The golden numbers know no F16 cache, which moves int8 activations here and there.
TEST_F(DefaultModel, AgreesWithTheTrainingSide) {
  Session session = start(load(*table_));
  const std::vector<float> logits = logits_of_each(session, tokens_);
  const auto vocab = static_cast<size_t>(session.model().config().vocab);
  const std::vector<float> golden_last = golden_["last_logits"];
  const std::vector<float> last(logits.end() - static_cast<int64_t>(vocab), logits.end());
  EXPECT_LT(testing::overall(testing::differences(last, golden_last, vocab)), 0.03);

  const std::vector<int32_t> golden_best = golden_["argmax"];
  int agreeing = 0;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    agreeing += best(std::span(logits).subspan(i * vocab, vocab)) == golden_best[i] ? 1 : 0;
  }
  EXPECT_GE(agreeing + 2, static_cast<int>(tokens_.size()))
      << "more than two positions prefer another token";
}

// Short texts, of which some at least have no int8 activation that a last bit moves: those agree to the digits of a float.
TEST_F(DefaultModel, AgreesWithTheSlowModel) {
  Session session = start(load(*table_));
  std::vector<double> worst;
  for (size_t from = 0; from < 16; from += 2) {
    const std::span<const int32_t> text = std::span(tokens_).subspan(from, 2);
    session.rewind(0);
    const std::vector<float> logits = logits_of_each(session, text);
    const std::vector<double> slow = testing::slow_logits(session.model().file(), text);
    worst.push_back(testing::differences(logits, slow, logits.size() / text.size()).back());
  }
  EXPECT_LT(*std::min_element(worst.begin(), worst.end()), 1e-5);
  EXPECT_LT(*std::max_element(worst.begin(), worst.end()), 0.03);
}

TEST_F(DefaultModel, RewoundSessionsContinueAsFreshOnes) {
  const std::shared_ptr<const Model> model = load(*table_);
  Session session = start(model);
  logits_of_each(session, tokens_);
  session.rewind(5);
  EXPECT_EQ(session.length(), 5);
  const std::span<const float> rewound = session.append(std::span(tokens_).subspan(5));
  Session fresh = start(model);
  fresh.append(std::span(tokens_).first(5));
  const std::span<const float> straight = fresh.append(std::span(tokens_).subspan(5));
  EXPECT_TRUE(std::equal(rewound.begin(), rewound.end(), straight.begin(), straight.end()));
}

TEST_F(DefaultModel, ACancelledPassLeavesTheSessionAsItWas) {
  Session session = start(load(*table_));
  session.append(std::span(tokens_).first(5));
  EXPECT_TRUE(session.append(std::span(tokens_).subspan(5), [] { return false; }).empty());
  EXPECT_EQ(session.length(), 5);
}

// Greedy text is the same whatever table computes it.
TEST(DefaultModelOnAllTables, GreedyTokensAreEqual) {
  std::vector<int32_t> first;
  for (const KernelTable* table : all_tables()) {
    if (!runs_here(*table)) {
      continue;
    }
    Session session = start(load(*table));
    std::vector<int32_t> tokens = session.model().tokenizer().encode("Once upon a time");
    std::span<const float> logits = session.append(tokens);
    for (int i = 0; i < 60; ++i) {
      tokens.push_back(best(logits));
      logits = session.append(std::span(tokens).last(1));
    }
    if (first.empty()) {
      first = tokens;
    }
    EXPECT_EQ(tokens, first) << table->name;
  }
}

// With the head in two planes, what screening says of each position: the wanted logits have the bits of all logits, the others are
// smaller. One token at a time and several together.
TEST_F(DefaultModel, ScreeningKeepsTheLargestLogits) {
  const std::shared_ptr<const Model> model = load(*table_, HeadType::kQ6K);
  const auto vocab = static_cast<size_t>(model->config().vocab);
  Session plain = start(model);
  const std::vector<float> all = logits_of_each(plain, tokens_);
  for (const int32_t largest : {1, 40}) {
    Session alone = start(model);
    Session together = start(model);
    const LogitsWanted wanted{largest, {}};
    std::vector<float> joined;
    const auto keep = [&](std::span<const float> logits) {
      joined.insert(joined.end(), logits.begin(), logits.end());
      return true;
    };
    ASSERT_TRUE(together.append_each(
        tokens_, keep, [] { return true; }, wanted));
    for (size_t position = 0; position < tokens_.size(); ++position) {
      const std::span<const float> truth = std::span(all).subspan(position * vocab, vocab);
      std::vector<float> sorted(truth.begin(), truth.end());
      std::sort(sorted.begin(), sorted.end(), std::greater<>());
      const float least = sorted[static_cast<size_t>(largest) - 1];
      const std::span<const float> one = alone.append(
          {&tokens_[position], 1}, [] { return true; }, wanted);
      for (const std::span<const float> some :
           {one, std::span<const float>(joined).subspan(position * vocab, vocab)}) {
        for (size_t token = 0; token < vocab; ++token) {
          if (truth[token] >= least) {
            ASSERT_EQ(some[token], truth[token]) << "position " << position << ", token " << token;
          } else {
            ASSERT_LT(some[token], least) << "position " << position << ", token " << token;
          }
        }
      }
    }
    EXPECT_GT(alone.head_stats().screened, 0);
    EXPECT_GT(together.head_stats().screened, 0);
  }
}

}  // namespace
}  // namespace tern
