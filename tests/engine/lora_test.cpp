// Adapters against PEFT's own logits (tests/golden/lora). How close they can come: golden_test.cpp.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "engine/session/session.h"
#include "kernels/select.h"
#include "tests/support/logits.h"
#include "tests/support/source_dir.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tested_table.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const fs::path kGolden = testing::source_path("tests/golden");

Result<std::shared_ptr<const Model>> load(const fs::path& model, std::vector<LoraSource> lora) {
  LoadOptions options;
  options.compute = {&testing::tested_table(), 1};
  options.lora = std::move(lora);
  return Model::load(model, options);
}

std::vector<float> logits_of(const fs::path& path, const std::vector<LoraSource>& lora,
                             int32_t batch = 16, int threads = 1) {
  static const Json kManifest = Json::parse(std::ifstream(kGolden / "models/manifest.json"));
  SessionOptions options;
  options.context = 256;
  options.batch = batch;
  options.threads = threads;
  Session session = Session::create(load(path, lora).value(), options).value();
  std::vector<float> all;
  session.append_each(kManifest["tokens"].get<std::vector<int32_t>>(),
                      [&](std::span<const float> logits) {
                        all.insert(all.end(), logits.begin(), logits.end());
                        return true;
                      });
  return all;
}

struct Case {
  std::vector<fs::path> models;  // a file and a folder of the same weights
  std::vector<LoraSource> lora;
  std::vector<float> logits;
  double most = 2e-3;
};

std::vector<float> floats_of(const fs::path& file) {
  std::vector<float> values(fs::file_size(file) / sizeof(float));
  std::ifstream(file, std::ios::binary)
      .read(reinterpret_cast<char*>(values.data()),
            static_cast<std::streamsize>(values.size() * sizeof(float)));
  return values;
}

std::vector<Case> cases() {
  const fs::path lora = kGolden / "lora";
  std::vector<Case> all;
  for (const Json& entry : Json::parse(std::ifstream(lora / "manifest.json"))) {
    Case each;
    const std::string base = entry["base"];
    each.models = {kGolden / "models" / (base + ".gguf"), kGolden / "hf" / base};
    each.most = base.starts_with("bitnet") ? 0.04 : 2e-3;
    for (const Json& adapter : entry["adapters"]) {
      each.lora.push_back({lora / adapter[0].get<std::string>(), adapter[1]});
    }
    each.logits = floats_of(lora / entry["logits"].get<std::string>());
    all.push_back(std::move(each));
  }
  for (const Json& entry : Json::parse(std::ifstream(lora / "more.json"))) {
    Case each;
    for (const Json& model : entry["models"]) {
      each.models.push_back(kGolden / model.get<std::string>());
    }
    each.lora = {{lora / entry["adapter"].get<std::string>(), 1.0F}};
    each.logits = floats_of(lora / entry["logits"].get<std::string>());
    all.push_back(std::move(each));
  }
  return all;
}

double distance(const std::vector<float>& a, const std::vector<float>& truth) {
  return testing::overall(testing::differences(a, truth, 272));
}

// The same adapters over the GGUF file and over the Hugging Face folder of one model, whose rows of queries and keys are ordered
// otherwise.
TEST(Lora, ComputesTheLogitsOfPeft) {
  const std::vector<Case> all = cases();
  ASSERT_EQ(all.size(), 11);
  for (const Case& each : all) {
    for (const fs::path& model : each.models) {
      EXPECT_LT(distance(logits_of(model, each.lora), each.logits), each.most)
          << model << " " << each.lora.front().path;
      EXPECT_GT(distance(logits_of(model, {}), each.logits), 0.3);
    }
  }
}

TEST(Lora, ScaleZeroIsTheModelItself) {
  for (const Case& each : cases()) {
    const fs::path& model = each.models.front();
    std::vector<LoraSource> none = each.lora;
    for (LoraSource& source : none) {
      source.scale = 0;
    }
    EXPECT_EQ(logits_of(model, none), logits_of(model, {}));
  }
}

TEST(Lora, BatchesAndThreadsChangeNoBit) {
  for (const Case& each : cases()) {
    const fs::path& model = each.models.front();
    const std::vector<float> one = logits_of(model, each.lora, 1);
    EXPECT_EQ(one, logits_of(model, each.lora, 16));
    EXPECT_EQ(one, logits_of(model, each.lora, 3, 2));
  }
}

// A copy of the PEFT folder "wide", changed; the error of the model that takes it.
class DamagedAdapter : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::copy(kGolden / "lora/wide", folder_ / "a", fs::copy_options::recursive);
  }
  static std::string error_of(const fs::path& adapter,
                              const char* model = "models/llama-bf16.gguf") {
    const auto loaded = load(kGolden / model, {{adapter, 1.0F}});
    return loaded ? "" : loaded.error().message;
  }
  std::string with(const std::function<void(Json&)>& change) {
    const fs::path path = folder_ / "a/adapter_config.json";
    Json config = Json::parse(std::ifstream(kGolden / "lora/wide/adapter_config.json"));
    change(config);
    std::ofstream(path) << config;
    return error_of(folder_ / "a");
  }
  // Of the same length, so that the file stays whole.
  std::string renamed(const std::string& from, const std::string& to) {
    const fs::path path = folder_ / "a/adapter_model.safetensors";
    std::ifstream in(kGolden / "lora/wide/adapter_model.safetensors", std::ios::binary);
    std::string bytes(std::istreambuf_iterator<char>(in), {});
    for (size_t at = bytes.find(from); at != std::string::npos; at = bytes.find(from, at)) {
      bytes.replace(at, from.size(), to);
    }
    std::ofstream(path, std::ios::binary) << bytes;
    return error_of(folder_ / "a");
  }
  testing::TempFolder folder_;
};

void expect_words(const std::string& message, std::initializer_list<const char*> words) {
  for (const char* word : words) {
    EXPECT_NE(message.find(word), std::string::npos) << word << " in: " << message;
  }
}

TEST_F(DamagedAdapter, WhatWouldBeRunWronglyIsRefused) {
  EXPECT_EQ(with([](Json&) {}), "");
  expect_words(with([](Json& c) { c["use_dora"] = true; }), {"use_dora"});
  expect_words(with([](Json& c) { c["modules_to_save"] = {"lm_head"}; }),
               {"modules_to_save", "lm_head"});
  expect_words(with([](Json& c) { c["bias"] = "all"; }), {"bias", "none"});
  expect_words(with([](Json& c) { c["init_lora_weights"] = "pissa"; }),
               {"init_lora_weights", "pissa"});
  expect_words(with([](Json& c) { c["peft_type"] = "IA3"; }), {"LORA", "IA3"});
  expect_words(with([](Json& c) { c["r"] = 5; }), {"rank 5", "found 4"});
  expect_words(with([](Json& c) { c["lora_alpha"] = "big"; }), {"lora_alpha", "big"});
  expect_words(with([](Json& c) {
                 c["alpha_pattern"] = {{"(k|v)_proj", 2}};
               }),
               {"alpha_pattern", "(k|v)_proj"});
  expect_words(with([](Json& c) {
                 c["alpha_pattern"] = {{"k_proj", 2}, {"layers.0.self_attn.k_proj", 3}};
               }),
               {"do not agree"});
}

TEST(Lora, OfExpertsAndOfInputsMadeForOneMatrixIsRefused) {
  const auto error_of = [](const char* model, const char* adapter) {
    const auto loaded = load(kGolden / model, {{kGolden / "lora" / adapter, 1.0F}});
    return loaded ? "" : loaded.error().message;
  };
  for (const char* model : {"experts/qwen3moe-f16.gguf", "experts/qwen3moe"}) {
    expect_words(error_of(model, "experts"), {"experts", "does not adapt experts"});
  }
  expect_words(error_of("hybrid/qwen3-hadamard.gguf", "rotated"),
               {"blk.0.attn_q.weight", "rotated", "Leave --lora out"});
  expect_words(error_of("published/bitnet-embedding-0.6b.gguf", "normed"),
               {"lora/normed", "no norms of their own"});
}

TEST_F(DamagedAdapter, OfAnotherModel) {
  expect_words(error_of(kGolden / "lora/wide", "models/qwen3-f32.gguf"), {"another model", "rows"});
  expect_words(error_of(kGolden / "lora/thin.gguf", "models/qwen3-f32.gguf"),
               {"architecture", "qwen3", "llama"});
  expect_words(renamed("layers.1.mlp.up_proj", "layers.9.mlp.up_proj"),
               {"blk.9.ffn_up", "another model"});
  expect_words(renamed("layers.1.mlp.up_proj.lora_A", "layers.9.mlp.up_proj.lora_A"),
               {"blk.1.ffn_up", "only B"});
  expect_words(renamed("up_proj.lora_A", "up_proj.lora_C"), {"lora_C"});
  expect_words(error_of(kGolden / "models/llama-bf16.gguf"), {"general.type", "adapter"});
  expect_words(error_of(folder_ / "none"), {"none"});
  fs::remove(folder_ / "a/adapter_model.safetensors");
  std::ofstream(folder_ / "a/adapter_model.bin") << "pickle";
  expect_words(error_of(folder_ / "a"), {"adapter_model.bin", "safe_serialization"});
}

}  // namespace
}  // namespace tern
