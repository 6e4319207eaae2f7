// Hugging Face folders: the same weights as golden GGUF files, so transformers' logits there are the truth here too; and damaged
// folders, each with the message that says what is wrong.

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

namespace tern {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const fs::path kGolden = testing::source_path("tests/golden");

std::vector<std::string> folder_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kGolden / "hf")) {
    if (entry.is_directory()) {
      names.push_back(entry.path().filename().string());
    }
  }
  std::ranges::sort(names);
  return names;
}

const Json& manifest() {
  static const Json kManifest = Json::parse(std::ifstream(kGolden / "models/manifest.json"));
  return kManifest;
}

class HuggingFaceModel : public ::testing::TestWithParam<std::string> {
 protected:
  static std::vector<float> logits_of(const fs::path& path) {
    const TensorFile file = TensorFile::open(path).value();
    return testing::DecoderRunner(file, best_table(), 1, Activations::kInt8)
        .logits(manifest()["tokens"].get<std::vector<int32_t>>(), 16);
  }
  const Json& golden() const {
    for (const Json& model : manifest()["models"]) {
      if (model["name"] == GetParam()) {
        return model;
      }
    }
    throw std::runtime_error("no golden model " + GetParam());
  }
};

TEST_P(HuggingFaceModel, ComputesTheLogitsOfTransformersAndOfTheGgufFile) {
  const size_t vocab = manifest()["vocabulary"];
  const bool ternary = golden()["class"] == "ternary";
  const std::vector<float> logits = logits_of(kGolden / "hf" / GetParam());
  const std::vector<float> same =
      logits_of(kGolden / "models" / golden()["file"].get<std::string>());
  // Scales and RoPE factors are equal to the last bit or two: a key may round to another half, an activation may move.
  EXPECT_LT(testing::overall(testing::differences(logits, same, vocab)), ternary ? 0.01 : 1e-4);

  std::vector<float> truth(logits.size());
  std::ifstream in(kGolden / "models" / golden()["logits"].get<std::string>(), std::ios::binary);
  ASSERT_TRUE(in.read(reinterpret_cast<char*>(truth.data()),
                      static_cast<std::streamsize>(truth.size() * sizeof(float))));
  EXPECT_LT(testing::overall(testing::differences(logits, truth, vocab)), ternary ? 0.04 : 1e-3);
}

TEST_P(HuggingFaceModel, TextBecomesTheTokensAndTheEndsAreKnown) {
  LoadOptions options;
  options.compute.kernels = &best_table();
  const auto model = Model::load(kGolden / "hf" / GetParam(), options);
  ASSERT_TRUE(model.has_value()) << model.error().message;
  const Tokenizer& tokenizer = (*model)->tokenizer();
  EXPECT_EQ(tokenizer.encode(manifest()["text"].get<std::string>()),
            manifest()["tokens"].get<std::vector<int32_t>>());
  EXPECT_EQ(tokenizer.spelling(tokenizer.eos()), "<|eot_id|>");
  const std::vector<TokenId>& stops = (*model)->stop_tokens();
  EXPECT_NE(std::ranges::find(stops, tokenizer.find("<|end_of_text|>")), stops.end())
      << "generation_config.json lists it";
}

INSTANTIATE_TEST_SUITE_P(All, HuggingFaceModel, ::testing::ValuesIn(folder_names()),
                         [](const auto& folder) {
                           std::string name = folder.param;
                           std::ranges::replace_if(
                               name, [](char c) { return !std::isalnum(c); }, '_');
                           return name;
                         });

// A copy of a small folder, to be damaged.
class DamagedFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::copy(kGolden / "hf/llama-bf16", folder_ / "model", fs::copy_options::recursive);
  }
  fs::path path(const char* name) const { return folder_ / "model" / name; }
  void edit(const char* name, const std::function<void(Json&)>& change) {
    Json json = Json::parse(std::ifstream(path(name)));
    change(json);
    std::ofstream(path(name)) << json;
  }
  void write_safetensors(const std::string& header, size_t data_bytes) {
    std::ofstream out(path("model.safetensors"), std::ios::binary);
    const uint64_t length = header.size();
    out.write(reinterpret_cast<const char*>(&length), sizeof length);
    out << header << std::string(data_bytes, '\0');
  }
  std::string error() const {
    const auto file = TensorFile::open(folder_ / "model");
    if (!file) {
      return file.error().message;
    }
    std::vector<std::string> notices;
    const auto config = read_config(*file, notices);
    return config ? "" : config.error().message;
  }

  testing::TempFolder folder_;
};

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST_F(DamagedFolder, MissingFilesAreNamed) {
  fs::remove(path("config.json"));
  EXPECT_HAS(error(), "config.json");
}

TEST_F(DamagedFolder, UnknownArchitecturesAndSchemesAreRefused) {
  edit("config.json", [](Json& config) { config["architectures"] = {"MambaForCausalLM"}; });
  EXPECT_HAS(error(), "MambaForCausalLM");
  EXPECT_HAS(error(), "LlamaForCausalLM");
  edit("config.json", [](Json& config) {
    config["architectures"] = {"LlamaForCausalLM"};
    config["quantization_config"] = {{"quant_method", "awq"}};
  });
  EXPECT_HAS(error(), "quant_method: expected bitnet, found awq");
  edit("config.json", [](Json& config) {
    config["quantization_config"] = {{"quant_method", "bitnet"}, {"linear_class", "other"}};
  });
  EXPECT_HAS(error(), "whether scales multiply or divide");
  edit("config.json", [](Json& config) {
    config.erase("quantization_config");
    config["rope_scaling"] = {{"rope_type", "longrope"}};
  });
  EXPECT_HAS(error(), "longrope");
}

TEST_F(DamagedFolder, AnUnknownSplitExpressionIsRefused) {
  edit("tokenizer.json", [](Json& tokenizer) {
    tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "x+";
  });
  EXPECT_HAS(error(), "x+");
}

// The steps of Hunyuan's and of Cohere's published tokenizer.json get the names that GGUF files give them.
TEST_F(DamagedFolder, StepsThatCutWordsAreRecognised) {
  const auto pre = [&] {
    const auto file = TensorFile::open(folder_ / "model");
    return file ? std::string(file->get_string("tokenizer.ggml.pre").value().value_or(""))
                : file.error().message;
  };
  const auto split = [](const char* regex) {
    return Json{{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}};
  };
  const Json level = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  edit("tokenizer.json", [&](Json& tokenizer) {
    tokenizer["pre_tokenizer"]["pretokenizers"] = {
        split(R"(\p{N}{1,3})"), split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"),
        split(
            R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"),
        level};
  });
  EXPECT_EQ(pre(), "hunyuan-dense");
  edit("tokenizer.json", [&](Json& tokenizer) {
    tokenizer["normalizer"] = {{"type", "NFC"}};
    tokenizer["pre_tokenizer"]["pretokenizers"] = {
        Json{{"type", "Digits"}, {"individual_digits", true}}, level};
  });
  EXPECT_EQ(pre(), "command-r");
  edit("tokenizer.json", [&](Json& tokenizer) {
    tokenizer["pre_tokenizer"]["pretokenizers"][0]["individual_digits"] = false;
  });
  EXPECT_HAS(pre(), "individual_digits");
}

TEST_F(DamagedFolder, AnIndexMayNotLeaveTheFolder) {
  std::ofstream(path("model.safetensors.index.json"))
      << R"({"weight_map": {"a": "../../etc/passwd"}})";
  EXPECT_HAS(error(), "the name of a file in the same folder");
}

TEST_F(DamagedFolder, SafetensorsHeadersAreChecked) {
  const auto tensor = [](const char* dtype, const char* shape, const char* offsets) {
    return std::string(R"({"model.norm.weight": {"dtype": ")") + dtype + R"(", "shape": )" + shape +
           R"(, "data_offsets": )" + offsets + "}}";
  };
  const std::tuple<std::string, size_t, const char*> cases[] = {
      {tensor("F32", "[4]", "[0, 16]"), 15, "cut off"},
      {tensor("F32", "[4]", "[0, 12]"), 16, "expected 16 bytes"},
      {tensor("F32", "[4]", "[8, 4]"), 16, "offsets 8 to 4"},
      {tensor("F32", "[-4]", "[0, 16]"), 16, "shape: expected a whole number"},
      {tensor("F32", "[4.0]", "[0, 16]"), 16, "whole number"},
      {tensor("F32", "[4294967296, 4294967296, 2]", "[0, 16]"), 16, "more than 2^63"},
      {tensor("F33", "[4]", "[0, 16]"), 16, "F33"},
      {tensor("F32", "\"four\"", "[0, 16]"), 16, "shape"},
      {tensor("F32", "[4]", "[0]"), 16, "data_offsets"},
      {tensor("I64", "[2]", "[0, 16]"), 16, "expected F32, F16 or BF16"},
      {"[]", 0, "JSON object"},
      {"{", 0, "JSON object"},
      {R"({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},)"
       R"( "b": {"dtype": "F32", "shape": [4], "data_offsets": [12, 28]}})",
       28, "overlap"}};
  for (const auto& [header, bytes, message] : cases) {
    write_safetensors(header, bytes);
    EXPECT_HAS(error(), message);
  }
}

TEST_F(DamagedFolder, CutOffHeadersAreRecognised) {
  for (const uint64_t length : {uint64_t{1} << 62U, uint64_t{200'000'000}, uint64_t{1000}}) {
    std::ofstream out(path("model.safetensors"), std::ios::binary);
    out.write(reinterpret_cast<const char*>(&length), sizeof length);
    out << "{}";
    out.close();
    EXPECT_HAS(error(), "header of");
  }
  std::ofstream(path("model.safetensors")) << "abc";
  EXPECT_HAS(error(), "only 3 bytes");
}

}  // namespace
}  // namespace tern
