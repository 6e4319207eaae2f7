// Models that OneCompression compressed. Those that the tool itself quantised are compared with the logits of its own loader
// (tests/golden/onecomp/make_quantized.py), those that were written as its layouts are described with transformers' logits of the
// matrices that the factors multiply out to (make_onecomp.py); and damaged folders, each with the message that says what is wrong.

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/arch/model.h"
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
constexpr size_t kVocab = 272;

std::vector<float> logits_of(const std::string& name, Activations activations, int threads = 1,
                             int32_t batch = 16) {
  static const auto kTokens = Json::parse(std::ifstream(kGolden / "models/manifest.json"))["tokens"]
                                  .get<std::vector<int32_t>>();
  const TensorFile file = TensorFile::open(kGolden / "onecomp" / name).value();
  return testing::DecoderRunner(file, testing::tested_table(), threads, activations)
      .logits(kTokens, batch);
}

std::vector<float> truth_of(const std::string& name, size_t tokens = 16) {
  std::vector<float> truth(tokens * kVocab);
  std::ifstream in(kGolden / "onecomp" / name / "logits.f32", std::ios::binary);
  in.read(reinterpret_cast<char*>(truth.data()),
          static_cast<std::streamsize>(truth.size() * sizeof(float)));
  EXPECT_TRUE(in.good());
  return truth;
}

class OnecompModel : public ::testing::TestWithParam<const char*> {};

TEST_P(OnecompModel, ComputesTheLogitsOfTheFactorsMultipliedOut) {
  const std::vector<float> truth = truth_of(GetParam());
  const auto difference = [&](Activations activations) {
    return testing::overall(
        testing::differences(logits_of(GetParam(), activations), truth, kVocab));
  };
  EXPECT_LT(difference(Activations::kF32), 2e-3);
  EXPECT_LT(difference(Activations::kInt16), 2e-3);
  EXPECT_LT(difference(Activations::kInt8), 0.05);
}

TEST_P(OnecompModel, ResultsDependOnNeitherBatchNorThreads) {
  for (const Activations activations : {Activations::kInt8, Activations::kInt16}) {
    EXPECT_EQ(logits_of(GetParam(), activations, 1, 16), logits_of(GetParam(), activations, 3, 1));
    EXPECT_EQ(logits_of(GetParam(), activations, 1, 16), logits_of(GetParam(), activations, 2, 5));
  }
}

INSTANTIATE_TEST_SUITE_P(All, OnecompModel, ::testing::Values("dbf", "mdbf", "onebit"));

TEST(Onecomp, OnePathWithOneEnvelopeIsDbf) {
  EXPECT_EQ(logits_of("dbf", Activations::kInt16), logits_of("dbf-as-mdbf", Activations::kInt16));
}

class ShortTruth : public ::testing::TestWithParam<const char*> {};

// Of the tool's own loader, or of the definition in plain matrix products.
TEST_P(ShortTruth, IsComputed) {
  const std::string name = GetParam();
  constexpr size_t kTokens = 8;
  const std::vector<float> truth = truth_of(name, kTokens);
  const auto difference = [&](Activations activations) {
    std::vector<float> logits = logits_of(name, activations);
    logits.resize(truth.size());
    return testing::overall(testing::differences(logits, truth, kVocab));
  };
  EXPECT_LT(difference(Activations::kF32), 1e-3);
  EXPECT_LT(difference(Activations::kInt16), 1e-3);
  EXPECT_LT(difference(Activations::kInt8), 0.05);
}

TEST_P(ShortTruth, DependsOnNeitherBatchNorThreads) {
  const std::string name = GetParam();
  EXPECT_EQ(logits_of(name, Activations::kInt16, 1, 16),
            logits_of(name, Activations::kInt16, 3, 5));
}

INSTANTIATE_TEST_SUITE_P(OnecompTool, ShortTruth,
                         ::testing::Values("tool/llama-dbf", "tool/qwen3-dbf-rotated",
                                           "tool/qwen3-mdbf", "tool/llama-mdbf-rotated",
                                           "tool/llama-rotated", "tool/llama-onebit",
                                           "tool/qwen3-mixed-gptq", "tool/llama-gptq-rotated",
                                           "tool/llama-autobit-dbf"));
// make_signs.py
INSTANTIATE_TEST_SUITE_P(OtherFactors, ShortTruth,
                         ::testing::Values("onebit-original", "littlebit", "nanoquant"));

TEST(Onecomp, MemoryOfFactorsIsCounted) {
  std::vector<std::string> notices;
  const TensorFile file = TensorFile::open(kGolden / "onecomp/tool/llama-dbf").value();
  ModelConfig config = read_config(file, notices).value();
  const ModelPlan plan = ModelPlan::create(file, config, testing::tested_table()).value();
  // q, o, gate and down come first with their inputs, k and up second, v third.
  EXPECT_EQ(config.factors.widest, (std::array<int32_t, 4>{96, 96, 32, 0}));
  const KvLayout layout = KvCache(config, 64).layout();
  const auto bytes = [&] {
    return Workspace::bytes(config, plan.shape().weights, {&testing::tested_table(), 1}, layout, 16,
                            64);
  };
  const size_t with = bytes();
  config.factors = {};
  // Of 64 rows: scaled, hidden, two planes of products; and two of rounded inputs, each with a scale and sums.
  constexpr size_t kRounded = 3 * kQ8ColsAlign;
  EXPECT_EQ(with - bytes(), 64U * (96 + 96 + 32) * (4 * 4) +
                                2 * 64 * (kRounded + 3 * 4 + kRounded / kQ8SumBlock * 4));
}

class DamagedOnecomp : public ::testing::Test {
 protected:
  // The error of opening a copy of a golden folder whose header or config.json was changed.
  std::string error(const std::string& name, const std::function<void(Json&)>& change_header,
                    const std::function<void(Json&)>& change_config = {}) {
    const fs::path copy = folder_ / "model";
    fs::remove_all(copy);
    fs::copy(kGolden / "onecomp" / name, copy, fs::copy_options::recursive);
    std::ifstream in(copy / "model.safetensors", std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(in)), {});
    in.close();
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    Json header = Json::parse(bytes.substr(sizeof length, length));
    change_header(header);
    const std::string text = header.dump();
    const uint64_t changed = text.size();
    std::ofstream out(copy / "model.safetensors", std::ios::binary);
    out.write(reinterpret_cast<const char*>(&changed), sizeof changed);
    out << text << bytes.substr(sizeof length + length);
    out.close();
    if (change_config) {
      Json config = Json::parse(std::ifstream(copy / "config.json"));
      change_config(config);
      std::ofstream(copy / "config.json") << config;
    }
    const auto file = TensorFile::open(copy);
    return file ? "" : file.error().message;
  }
  // Cuts `count` slices of `size` bytes off a tensor's end.
  static void cut(Json& tensor, int64_t count, int64_t size) {
    tensor["shape"][0] = tensor["shape"][0].get<int64_t>() - count;
    tensor["data_offsets"][1] = tensor["data_offsets"][1].get<int64_t>() - count * size;
  }

  testing::TempFolder folder_;
};

#define EXPECT_HAS(text, part)                               \
  do {                                                       \
    const std::string found = text;                          \
    EXPECT_NE(found.find(part), std::string::npos) << found; \
  } while (false)

constexpr const char* kUp = "model.layers.1.mlp.up_proj.";

TEST_F(DamagedOnecomp, PartsThatDoNotFitAreNamed) {
  const auto name = [](const char* part) { return std::string(kUp) + part; };
  EXPECT_HAS(error("dbf", [&](Json& h) { cut(h[name("bp1")], 1, 1); }), name("bp1"));
  EXPECT_HAS(error("dbf", [&](Json& h) { cut(h[name("scaling2")], 8, 2); }), name("bp1"));
  EXPECT_HAS(error("dbf", [&](Json& h) { cut(h[name("scaling4")], 8, 2); }), name("bp3"));
  EXPECT_HAS(error("dbf", [&](Json& h) { h.erase(name("scaling2")); }), "no such tensor");
  EXPECT_HAS(error("onebit", [&](Json& h) { cut(h[name("sign_packed")], 1, 1); }),
             "expected 800 U8, for 100 x 64 signs, found 799 U8");
  const auto path = [&](const char* part) { return name("paths.1.") + part; };
  EXPECT_HAS(error("mdbf", [&](Json& h) { cut(h[path("A_sign_packed")], 1, 1); }),
             path("A_sign_packed"));
  EXPECT_HAS(error("mdbf", [&](Json& h) { cut(h[path("Q_U_amp")], 1, 4); }), path("Q_V_amp"));
  EXPECT_HAS(error("mdbf",
                   [&](Json& h) {
                     h[path("_A_sign_shape")] = h[path("_B_sign_shape")];
                     h.erase(path("_B_sign_shape"));
                   }),
             path("_A_sign_shape"));
  EXPECT_HAS(error("mdbf", [&](Json& h) { h.erase(path("A_amp")); }),
             "expected 8 parts of the matrix, found 15");
}

TEST_F(DamagedOnecomp, TheMethodsNameDoesNotMatter) {
  for (const char* method : {"mixed_dbf", "mdbf", "gptq"}) {
    EXPECT_EQ(error(
                  "dbf", [](Json&) {},
                  [&](Json& config) { config["quantization_config"]["quant_method"] = method; }),
              "");
  }
}

TEST_F(DamagedOnecomp, PartsOfGptqThatDoNotFitAreNamed) {
  const auto name = [](const char* part) { return std::string(kUp) + part; };
  constexpr const char* kGptq = "tool/qwen3-mixed-gptq";
  EXPECT_HAS(error(kGptq, [&](Json& h) { cut(h[name("qweight")], 1, 4 * 96); }), name("qweight"));
  EXPECT_HAS(error(kGptq, [&](Json& h) { cut(h[name("g_idx")], 12, 4); }), "2, 3, 4 or 8 bits");
  EXPECT_HAS(error(kGptq, [&](Json& h) { h[name("qzeros")]["shape"] = {6, 1}; }), "expected 1 x 6");
  EXPECT_HAS(error(kGptq,
                   [&](Json& h) {
                     h[name("scales")]["shape"] = {96, 1};
                   }),
             "one scale for each of 96 rows");
  EXPECT_HAS(error(kGptq, [&](Json& h) { h.erase(name("g_idx")); }), "no such tensor");
  // The last two rows of the embedding read as groups.
  EXPECT_HAS(error(kGptq,
                   [&](Json& h) {
                     Json& embedding = h["model.embed_tokens.weight"];
                     cut(embedding, 2, 64);
                     const int64_t from = embedding["data_offsets"][1];
                     h[name("g_idx")]["data_offsets"] = {from, from + 4 * 32};
                   }),
             "groups below 1");
  EXPECT_HAS(
      error(
          kGptq, [](Json&) {},
          [](Json& config) { config["quantization_config"]["checkpoint_format"] = "marlin"; }),
      "expected gptq or gptq_v2, found marlin");
}

TEST_F(DamagedOnecomp, WidthsWithoutAHadamardMatrixAreRefused) {
  const fs::path copy = folder_ / "rotated";
  fs::copy(kGolden / "onecomp/dbf", copy, fs::copy_options::recursive);
  Json config = Json::parse(std::ifstream(copy / "config.json"));
  config["quantization_config"]["rotated"] = true;
  config["intermediate_size"] = 92;
  std::ofstream(copy / "config.json") << config;
  std::vector<std::string> notices;
  const auto read = read_config(TensorFile::open(copy).value(), notices);
  ASSERT_FALSE(read);
  EXPECT_HAS(read.error().message, "feed_forward_length");
  EXPECT_HAS(read.error().message, "found 92");
}

// What loading a folder says.
std::string load_error(const fs::path& folder, std::vector<LoraSource> lora = {}) {
  LoadOptions options;
  options.compute = {&testing::tested_table(), 1};
  options.lora = std::move(lora);
  const auto model = Model::load(folder, options);
  return model ? "" : model.error().message;
}

void write_safetensors(const fs::path& path, const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&length), sizeof length);
  out << header << data;
}

TEST_F(DamagedOnecomp, BiasesThatAreNotZeroAreRefused) {
  const fs::path copy = folder_ / "biased";
  fs::copy(kGolden / "onecomp/onebit", copy, fs::copy_options::recursive);
  EXPECT_EQ(load_error(copy), "");
  std::fstream file(copy / "model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  uint64_t length = 0;
  file.read(reinterpret_cast<char*>(&length), sizeof length);
  std::string text(length, ' ');
  file.read(text.data(), static_cast<std::streamsize>(length));
  const int64_t at = Json::parse(text)[std::string(kUp) + "bias"]["data_offsets"][0];
  file.seekp(static_cast<std::streamoff>(sizeof length + length) + at + 2 * 7 + 1);
  file.put('\x3C');  // the eighth is 1
  file.close();
  EXPECT_HAS(load_error(copy), "tensor blk.1.ffn_up.bias: expected zeros, found others");
}

TEST_F(DamagedOnecomp, AdaptersOfFactoredMatricesAreRefused) {
  std::ofstream(folder_ / "adapter_config.json")
      << R"({"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"]})";
  const std::string name = "base_model.model.model.layers.0.self_attn.q_proj.lora_";
  write_safetensors(
      folder_ / "adapter_model.safetensors",
      R"({")" + name + R"(A.weight":{"dtype":"F32","shape":[1,32],"data_offsets":[0,128]},")" +
          name + R"(B.weight":{"dtype":"F32","shape":[32,1],"data_offsets":[128,256]}})",
      std::string(256, '\0'));
  EXPECT_HAS(load_error(kGolden / "onecomp/tool/llama-dbf", {{folder_ / "", 1.0F}}), "factored");
  EXPECT_EQ(load_error(kGolden / "onecomp/tool/llama-gptq-rotated", {{folder_ / "", 1.0F}}), "");
}

TEST_F(DamagedOnecomp, ScalesThatAreNoNumbersAreRefused) {
  // Signs read as halves: some are NaN or infinite.
  const std::string scale = std::string(kUp) + "scaling0";
  const std::string signs = std::string(kUp) + "bp1";
  EXPECT_HAS(error("dbf",
                   [&](Json& h) {
                     h[scale]["data_offsets"] = h[signs]["data_offsets"];
                     h[scale]["shape"] = {h[signs]["shape"][0].get<int64_t>() / 2};
                     h.erase(signs);
                   }),
             "finite scales");
}

}  // namespace
}  // namespace tern
