// The default model (models/tern-tiny.gguf) through Model and Session: its logits against those that the training side computed
// for the same file in numpy (tests/golden/tern-tiny-logits.json), and against the slow model.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "engine/session/session.h"
#include "kernels/select.h"
#include "tests/support/logits.h"
#include "tests/support/slow_model.h"

namespace tern {
namespace {

const std::filesystem::path kSource = TERN_SOURCE_DIR;

std::shared_ptr<const Model> load(const KernelTable& table) {
  LoadOptions options;
  options.compute = Compute{&table, 1};
  return Model::load(kSource / "models/tern-tiny.gguf", options).value();
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
    golden_ = nlohmann::json::parse(std::ifstream(kSource / "tests/golden/tern-tiny-logits.json"));
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

}  // namespace
}  // namespace tern
