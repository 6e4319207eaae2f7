// Decoders with recurrent layers or experts: logits of transformers and of plain functions (make_hybrid.py and make_experts.py
// in tests/golden); that a state that cannot be cut leaves no trace of what was rewound, cancelled or computed again; that
// experts are touched only when a token goes to them.

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "engine/session/session.h"
#include "kernels/select.h"
#include "tests/support/golden_logits.h"
#include "tests/support/packed_experts.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tested_table.h"

namespace tern {
namespace {

using testing::distance;
using testing::Golden;
using testing::kGolden;
using testing::read_golden;

class Hybrid : public ::testing::TestWithParam<const char*> {};

// One pass, passes that cut the text anywhere, and token by token. What is left is the F16 cache of the attention layers, and
// in ternary models activations that rounding moves (golden_test.cpp).
TEST_P(Hybrid, AgreesWithTransformers) {
  const Golden golden = read_golden(GetParam());
  const bool ternary =
      std::string(GetParam()).ends_with("2_s") || std::string(GetParam()).ends_with("q2_0");
  for (const int32_t batch : {80, 33, 7, 1}) {
    EXPECT_LT(distance(kGolden / (std::string(GetParam()) + ".gguf"), golden, batch),
              ternary ? 0.04 : 1e-3)
        << "passes of " << batch;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Hybrid,
                         ::testing::Values("hybrid/qwen35-f16", "hybrid/qwen35-i2_s",
                                           "hybrid/qwen35-hadamard", "hybrid/qwen3-hadamard",
                                           "experts/qwen3moe-f16", "experts/maple-f16",
                                           "experts/maple-q2_0"),
                         [](const auto& test) {
                           std::string name = test.param;
                           name.erase(0, name.find('/') + 1);
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

// Heads of values lie in another order there than in the folder. The converter adds 1 to norms in halves, which rounds them.
TEST(HybridFile, OfLlamaCppsConverterAgreesWithTransformers) {
  EXPECT_LT(distance(kGolden / "llama_cpp/qwen35-f16.gguf", read_golden("hybrid/qwen35-f16"), 33),
            3e-3);
}

// The folder that transformers saves, and as the language model beside a part that sees: nested, under a longer prefix.
TEST(HybridFolder, AgreesWithTransformers) {
  namespace fs = std::filesystem;
  const Golden golden = read_golden("hybrid/qwen35-f16");
  const fs::path folder = kGolden / "hybrid/qwen35-f16";
  EXPECT_LT(distance(folder, golden, 33), 1e-3);

  const testing::TempFolder copy;
  fs::copy(folder, copy / "", fs::copy_options::recursive);
  auto config = nlohmann::json::parse(std::ifstream(folder / "config.json"));
  std::ofstream(copy / "config.json")
      << nlohmann::json{{"architectures", {"Qwen3_5ForConditionalGeneration"}},
                        {"model_type", "qwen3_5"},
                        {"text_config", config}};
  std::ifstream in(folder / "model.safetensors", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), {});
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  const auto header = nlohmann::json::parse(bytes.substr(sizeof length, length));
  const std::string data = bytes.substr(sizeof length + length);
  auto renamed = nlohmann::json::object();
  for (const auto& [name, entry] : header.items()) {
    renamed[name.starts_with("model.") ? "model.language_model." + name.substr(6) : name] = entry;
  }
  // Parts that are left out: with nothing in them, so that no data need to be added.
  for (const char* name :
       {"model.visual.patch_embed.proj.weight", "mtp.fc.weight", "lm_head_flash.weight"}) {
    renamed[name] = {{"dtype", "F16"}, {"shape", {0}}, {"data_offsets", {0, 0}}};
  }
  const std::string text = renamed.dump();
  length = text.size();
  std::ofstream out(copy / "model.safetensors", std::ios::binary);
  out.write(reinterpret_cast<const char*>(&length), sizeof length);
  out << text << data;
  out.close();
  EXPECT_LT(distance(copy / "", golden, 33), 1e-3);
}

// Packed are those experts that tokens went to, and no others: one token goes to three of eight.
TEST(Experts, ArePackedWhenATokenGoesToThem) {
  LoadOptions options;
  options.compute = Compute{&testing::tested_table(), 2};
  const auto model = Model::load(kGolden / "experts/maple-q2_0.gguf", options).value();
  EXPECT_EQ(testing::packed_experts(*model), std::vector<int32_t>(6, 0));
  Session session = std::move(Session::create(model, {.context = 256})).value();
  const TokenId token = 65;
  session.append({&token, 1});
  EXPECT_EQ(testing::packed_experts(*model), std::vector<int32_t>(6, 3));
  session.append(read_golden("experts/maple-q2_0").tokens);
  EXPECT_GT(testing::packed_experts(*model)[0], 3);
}

TEST(Experts, BatchesAndThreadsChangeNoBit) {
  const Golden golden = read_golden("experts/maple-q2_0");
  const TensorFile file = std::move(TensorFile::open(kGolden / "experts/maple-q2_0.gguf")).value();
  const auto logits = [&](int32_t batch, int threads) {
    return testing::DecoderRunner(file, testing::tested_table(), threads)
        .logits(golden.tokens, batch);
  };
  const std::vector<float> expected = logits(1, 1);
  EXPECT_EQ(logits(32, 1), expected);
  EXPECT_EQ(logits(7, 2), expected);
}

class Rewinding : public ::testing::Test {
 protected:
  void SetUp() override {
    LoadOptions options;
    options.compute = Compute{&testing::tested_table(), 1};
    model_ = Model::load(kGolden / "hybrid/qwen35-f16.gguf", options).value();
    for (int32_t i = 0; i < 200; ++i) {
      text_.push_back(static_cast<TokenId>(random_() % 268));
    }
  }

  Session start(int threads = 1, int32_t batch = 48) {
    SessionOptions options;
    options.context = 256;
    options.threads = threads;
    options.batch = batch;
    return std::move(Session::create(model_, options)).value();
  }
  static std::vector<float> copy(std::span<const float> logits) {
    return {logits.begin(), logits.end()};
  }
  // The last logits of a session that has seen nothing but `tokens`.
  std::vector<float> fresh(std::span<const TokenId> tokens) { return copy(start().append(tokens)); }

  std::mt19937 random_{5};
  std::shared_ptr<const Model> model_;
  std::vector<TokenId> text_;
};

TEST_F(Rewinding, BatchesAndThreadsChangeNoBit) {
  const auto all = [&](Session session, size_t piece) {
    std::vector<float> logits;
    for (size_t at = 0; at < text_.size(); at += piece) {
      session.append_each(std::span(text_).subspan(at, std::min(piece, text_.size() - at)),
                          [&](std::span<const float> row) {
                            logits.insert(logits.end(), row.begin(), row.end());
                            return true;
                          });
    }
    return logits;
  };
  const std::vector<float> expected = all(start(), 1);
  EXPECT_EQ(all(start(1, 200), 200), expected);
  EXPECT_EQ(all(start(3), 61), expected);
  EXPECT_EQ(all(start(2), 2), expected);
}

// A conversation that goes back anywhere, also behind every state that was kept, and on with other tokens.
TEST_F(Rewinding, LeavesNoTrace) {
  Session session = start(2);
  std::vector<TokenId> held;
  for (int step = 0; step < 60; ++step) {
    if (!held.empty() && random_() % 3 != 0) {
      // Mostly within the last pass, as speculation does; sometimes anywhere.
      const size_t back = random_() % 4 == 0 ? random_() % (held.size() + 1)
                                             : random_() % std::min<size_t>(held.size(), 6);
      held.resize(held.size() - back);
      session.rewind(static_cast<int32_t>(held.size()));
    }
    const size_t most = step % 7 == 0 ? 120 : 5;
    const size_t count =
        std::min<size_t>(1 + random_() % most, static_cast<size_t>(session.room()));
    if (count == 0) {
      held.clear();
      session.rewind(0);
      continue;
    }
    std::vector<TokenId> more;
    for (size_t i = 0; i < count; ++i) {
      more.push_back(static_cast<TokenId>(random_() % 268));
    }
    held.insert(held.end(), more.begin(), more.end());
    ASSERT_EQ(copy(session.append(more)), fresh(held)) << "step " << step;
    ASSERT_EQ(session.length(), static_cast<int32_t>(held.size()));
  }
}

// Cancelled after any number of layers of any pass, the session is as before.
TEST_F(Rewinding, CancelledPassesLeaveNoTrace) {
  const auto prompt = std::span(text_).first(70);
  const auto more = std::span(text_).subspan(70, 100);
  const std::vector<float> expected = fresh(std::span(text_).first(170));
  bool cancelled = true;
  for (int patience = 0; cancelled; ++patience) {
    ASSERT_LT(patience, 100);
    Session session = start();
    session.append(prompt);
    int layers = 0;
    cancelled = session.append(more, [&] { return layers++ < patience; }).empty();
    EXPECT_EQ(session.length(), cancelled ? 70 : 170);
    if (cancelled) {
      ASSERT_EQ(copy(session.append(more)), expected) << patience;
    }
  }
}

// What costs time: how many tokens are computed again, seen as passes through the layers.
TEST_F(Rewinding, GoesOnFromTheStateBeforeThePromptsEnd) {
  Session session = start(1, 16);
  session.append(std::span(text_).first(160));
  session.append(std::span(text_).subspan(160, 1));
  session.append(std::span(text_).subspan(161, 1));
  session.rewind(155);
  int layers = 0;
  session.append(std::span(text_).subspan(155, 1), [&] { return ++layers > 0; });
  EXPECT_EQ(layers, 5);  // one pass of four tokens: the state of 152 was kept
}

TEST_F(Rewinding, PlansItsMemory) {
  const MemoryPlan plan = plan_memory(model_->shape(), {.context = 256}, 0);
  EXPECT_EQ(plan.kv_cache, 2ULL * 2 * 1 * 2 * 16 * 256);  // one attention layer of five
  // Three states of four layers: 6 heads of 8 x 8, and 3 inputs of the 80 channels.
  EXPECT_EQ(plan.recurrent_state, 3ULL * 4 * (6 * 8 * 8 + 3 * 80) * sizeof(float));
}

}  // namespace
}  // namespace tern
