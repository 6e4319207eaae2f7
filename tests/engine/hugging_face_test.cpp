// Hugging Face folders: the same weights as golden GGUF files, so transformers' logits there are the truth here too; and damaged
// folders, each with the message that says what is wrong.

#include <gtest/gtest.h>

#include <array>
#include <cmath>
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

std::vector<float> read_floats(const fs::path& path, size_t count) {
  std::vector<float> values(count);
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.read(reinterpret_cast<char*>(values.data()),
                      static_cast<std::streamsize>(count * sizeof(float))))
      << path;
  return values;
}

class HuggingFaceModel : public ::testing::TestWithParam<std::string> {
 protected:
  static std::vector<float> logits_of(const fs::path& path) {
    const TensorFile file = TensorFile::open(path).value();
    return testing::DecoderRunner(file, testing::tested_table(), 1, Activations::kInt8)
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

// What llama.cpp's own converter makes of these folders; TQ1_0 and TQ2_0 hold their weights exactly.
TEST(LlamaCppFile, ComputesTheLogitsOfTransformersOfTheFolder) {
  const auto tokens = manifest()["tokens"].get<std::vector<int32_t>>();
  const std::pair<const char*, const char*> files[] = {
      {"llama-bf16", "llama-bf16.f32"},
      {"llama-llama3-rope", "llama-llama3-rope.f32"},
      {"llama-tq2_0-groups-tq1_0", "llama-tq2_0-groups.float.f32"},
      {"llama-tq2_0-groups-tq2_0", "llama-tq2_0-groups.float.f32"},
      {"qwen3-f32", "qwen3-f32.f32"}};
  for (const auto& [name, logits_file] : files) {
    SCOPED_TRACE(name);
    const TensorFile file =
        TensorFile::open(kGolden / "llama_cpp" / (std::string(name) + ".gguf")).value();
    const std::vector<float> logits =
        testing::DecoderRunner(file, testing::tested_table(), 1, Activations::kF32)
            .logits(tokens, 16);
    const std::vector<float> truth = read_floats(kGolden / "models" / logits_file, logits.size());
    EXPECT_LT(testing::overall(
                  testing::differences(logits, truth, manifest()["vocabulary"].get<size_t>())),
              1e-3);
  }
}

TEST_P(HuggingFaceModel, TextBecomesTheTokensAndTheEndsAreKnown) {
  LoadOptions options;
  options.compute.kernels = &testing::tested_table();
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

const fs::path kMlxFolder = kGolden / "mlx/llama";

TEST(MlxFolder, ComputesTheLogitsOfTransformers) {
  const TensorFile file = TensorFile::open(kMlxFolder).value();
  const auto tokens = manifest()["tokens"].get<std::vector<int32_t>>();
  const std::vector<float> logits =
      testing::DecoderRunner(file, testing::tested_table(), 1, Activations::kInt16)
          .logits(tokens, 16);
  const std::vector<float> truth =
      read_floats(kGolden / "models/llama-tq2_0-groups.float.f32", logits.size());
  // The head's steps of 1/255 of a group's range are what differs most.
  EXPECT_LT(
      testing::overall(testing::differences(logits, truth, manifest()["vocabulary"].get<size_t>())),
      0.02);
}

// The embedding as head, codes in one file and their scales and biases in another: now nothing is rounded more than in the model whose
// logits are the truth.
TEST(MlxFolder, MayBeTiedAndSharded) {
  const testing::TempFolder folder;
  fs::copy(kMlxFolder, folder / "", fs::copy_options::recursive);
  Json config = Json::parse(std::ifstream(folder / "config.json"));
  config["tie_word_embeddings"] = true;
  std::ofstream(folder / "config.json") << config;

  std::ifstream in(kMlxFolder / "model.safetensors", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), {});
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  std::array<Json, 2> headers = {Json::object(), Json::object()};
  Json map;
  const std::array<std::string, 2> names = {"model-00001-of-00002.safetensors",
                                            "model-00002-of-00002.safetensors"};
  const Json whole = Json::parse(bytes.substr(sizeof length, length));
  for (const auto& [name, entry] : whole.items()) {
    if (!name.starts_with("lm_head.") && name != "__metadata__") {
      const size_t shard = name.ends_with(".weight") ? 0 : 1;
      headers[shard][name] = entry;
      map[name] = names[shard];
    }
  }
  for (size_t shard = 0; shard < names.size(); ++shard) {
    const std::string text = headers[shard].dump();
    const uint64_t size = text.size();
    std::ofstream out(folder / names[shard], std::ios::binary);
    out.write(reinterpret_cast<const char*>(&size), sizeof size);
    out << text << bytes.substr(sizeof length + length);
  }
  fs::remove(folder / "model.safetensors");
  std::ofstream(folder / "model.safetensors.index.json") << Json{{"weight_map", map}};

  const TensorFile file = TensorFile::open(folder / "").value();
  EXPECT_EQ(file.files().size(), 2U);
  const std::vector<float> logits =
      testing::DecoderRunner(file, testing::tested_table(), 1, Activations::kInt16)
          .logits(manifest()["tokens"].get<std::vector<int32_t>>(), 16);
  const std::vector<float> truth =
      read_floats(kGolden / "models/llama-tq2_0-groups.float.f32", logits.size());
  EXPECT_LT(
      testing::overall(testing::differences(logits, truth, manifest()["vocabulary"].get<size_t>())),
      1e-3);
}

// Scales of 64 columns in two types and, by the entries for single modules, of 32 and 128; a module left as floats.
TEST(MlxFolder, TernaryWeightsAreThoseOfTheGgufFile) {
  const TensorFile mlx = TensorFile::open(kMlxFolder).value();
  const TensorFile hf = TensorFile::open(kGolden / "hf/llama-tq2_0-groups").value();
  int compared = 0;
  for (const Tensor& tensor : mlx.tensors()) {
    if (!tensor.format->ternary) {
      continue;
    }
    const Tensor& same = *hf.find(tensor.name);
    ASSERT_EQ(tensor.shape, same.shape) << tensor.name;
    EXPECT_FALSE(tensor.format->bitnet);
    const auto values = [](const Tensor& of) {
      const int64_t width = of.format->scale_width(of.cols());
      std::vector<int8_t> trits(static_cast<size_t>(of.count()));
      std::vector<float> scales(static_cast<size_t>(of.count() / width));
      EXPECT_TRUE(unpack_rows(of, *of.format, 0, of.rows(), trits.data(), scales.data()));
      std::vector<float> all;
      for (size_t i = 0; i < trits.size(); ++i) {
        all.push_back(static_cast<float>(trits[i]) * scales[i / static_cast<size_t>(width)]);
      }
      return all;
    };
    EXPECT_EQ(values(tensor), values(same)) << tensor.name;
    ++compared;
  }
  EXPECT_EQ(compared, 7);
}

TEST(MlxFolder, EightBitsAreWhatMlxMakesOfThem) {
  const TensorFile file = TensorFile::open(kMlxFolder).value();
  const Tensor& head = *file.find("output.weight");
  ASSERT_EQ(head.format->name, "F16");
  const std::vector<float> truth =
      read_floats(kGolden / "mlx/head.f32", size_t{4} * static_cast<size_t>(head.cols()));
  std::vector<float> row(static_cast<size_t>(head.cols()));
  for (int32_t i = 0; i < 4; ++i) {
    testing::tested_table().dense_row(*dense_matrix(head), i, row.data());
    for (size_t col = 0; col < row.size(); ++col) {
      const float exact = truth[static_cast<size_t>(i) * row.size() + col];
      // Half of the last of the 11 bits of F16, or of its smallest step.
      EXPECT_NEAR(row[col], exact, std::fabs(exact) * 0x1p-11F + 0x1p-25F);
    }
  }
}

// A folder with one matrix of 64 columns and 2 rows, whose numbers the test chooses.
class OneMlxMatrix : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::copy(kMlxFolder, folder_ / "model");
    config_ = Json::parse(std::ifstream(folder_ / "model/config.json"));
    config_["quantization"] = {{"group_size", 64}, {"bits", 2}};
  }
  // Codes of a row as its four words; scales and biases as half or bfloat bits.
  Result<TensorFile> open() const {
    std::ofstream(folder_ / "model/config.json") << config_;
    const size_t bytes = codes_.size() * sizeof(uint32_t);
    const size_t part = numbers_.size() * sizeof(uint16_t) / 2;
    const auto entry = [](const std::string& dtype, const Json& shape, size_t begin, size_t end) {
      return Json{{"dtype", dtype}, {"shape", shape}, {"data_offsets", {begin, end}}};
    };
    Json header = {{module_ + ".weight", entry("U32", {2, codes_.size() / 2}, 0, bytes)},
                   {module_ + ".scales", entry(dtype_, scales_shape_, bytes, bytes + part)}};
    header[module_ + biases_] = entry(dtype_, biases_shape_, bytes + part, bytes + 2 * part);
    const std::string text = header.dump();
    const uint64_t length = text.size();
    std::ofstream out(folder_ / "model/model.safetensors", std::ios::binary);
    out.write(reinterpret_cast<const char*>(&length), sizeof length);
    out << text;
    out.write(reinterpret_cast<const char*>(codes_.data()), static_cast<std::streamsize>(bytes));
    out.write(reinterpret_cast<const char*>(numbers_.data()),
              static_cast<std::streamsize>(2 * part));
    out.close();
    return TensorFile::open(folder_ / "model");
  }
  std::string error() const {
    const auto file = open();
    return file ? "" : file.error().message;
  }

  testing::TempFolder folder_;
  Json config_;
  std::string module_ = "model.layers.0.mlp.up_proj";
  std::string dtype_ = "BF16";
  std::string biases_ = ".biases";
  Json scales_shape_ = {2, 1};
  Json biases_shape_ = {2, 1};
  // Row 0: codes 0, 1, 2, 1 over and over; row 1: 2.
  std::vector<uint32_t> codes_ = {0x64646464, 0x64646464, 0x64646464, 0x64646464,
                                  0xAAAAAAAA, 0xAAAAAAAA, 0xAAAAAAAA, 0xAAAAAAAA};
  std::vector<uint16_t> numbers_ = {0x3F00, 0x4040, 0xBF00, 0xC040};  // 0.5, 3, -0.5, -3
};

TEST_F(OneMlxMatrix, BfloatScalesAndTheOtherNameOfTheKey) {
  config_["quantization_config"] = config_["quantization"];
  config_.erase("quantization");
  const auto file = open();
  ASSERT_TRUE(file.has_value()) << file.error().message;
  const Tensor& tensor = *file->find("blk.0.ffn_up.weight");
  std::array<int8_t, 128> trits{};
  std::array<float, 2> scales{};
  ASSERT_TRUE(unpack_rows(tensor, *tensor.format, 0, 2, trits.data(), scales.data()));
  EXPECT_EQ(scales, (std::array<float, 2>{0.5F, 3.0F}));
  for (size_t i = 0; i < 64; ++i) {
    EXPECT_EQ(trits[i], static_cast<int>(i % 4 == 0 ? -1 : i % 2 == 0));
    EXPECT_EQ(trits[64 + i], 1);
  }
}

TEST_F(OneMlxMatrix, ACodeOfThreeStandsForNoWeight) {
  codes_[5] |= 1U << 4U;
  const auto file = open();
  ASSERT_TRUE(file.has_value()) << file.error().message;
  Weights weights(*file, testing::tested_table(), 1);
  const auto linear = weights.linear("blk.0.ffn_up.weight", 2, 64);
  ASSERT_FALSE(linear.has_value());
  EXPECT_NE(linear.error().message.find("found one that stands for no weight"), std::string::npos)
      << linear.error().message;
}

// Ternary kernels sum the input by 64 columns: scales that change within them leave floats, and a line that says so.
TEST_F(OneMlxMatrix, GroupsOf32AreTernaryWhereScalesAreEqualWithin64Columns) {
  config_["quantization"]["group_size"] = 32;
  scales_shape_ = biases_shape_ = {2, 2};
  numbers_ = {0x3F00, 0x3F00, 0x4040, 0x4040, 0xBF00, 0xBF00, 0xC040, 0xC040};
  const auto linear = [&](int32_t cols) {
    const auto file = open();
    EXPECT_TRUE(file.has_value()) << file.error().message;
    EXPECT_TRUE(file->notices().empty());
    const Linear w =
        Weights(*file, testing::tested_table(), 1).linear("blk.0.ffn_up.weight", 2, cols).value();
    return w.ternary() ? std::get<TernaryMatrix>(w.matrix).cols_per_scale : 0;
  };
  EXPECT_EQ(linear(64), 64);
  // Two groups of 64, each of two of 32.
  codes_.insert(codes_.begin() + 4, codes_.begin(), codes_.begin() + 4);
  codes_.insert(codes_.end(), codes_.end() - 4, codes_.end());
  scales_shape_ = biases_shape_ = {2, 4};
  numbers_ = {0x3F00, 0x3F00, 0x4040, 0x4040, 0x4040, 0x4040, 0x3F00, 0x3F00,
              0xBF00, 0xBF00, 0xC040, 0xC040, 0xC040, 0xC040, 0xBF00, 0xBF00};
  EXPECT_EQ(linear(128), 64);
}

TEST_F(OneMlxMatrix, OtherGroupsOf32BecomeFloatsWithANotice) {
  config_["quantization"]["group_size"] = 32;
  scales_shape_ = biases_shape_ = {2, 2};
  numbers_ = {0x3F00, 0x4040, 0x3F00, 0x4040, 0xBF00, 0xC040, 0xBF00, 0xC040};
  const auto file = open();
  ASSERT_TRUE(file.has_value()) << file.error().message;
  ASSERT_EQ(file->notices().size(), 1);
  EXPECT_NE(file->notices()[0].find("1 ternary matrices in groups of 32 columns"),
            std::string::npos)
      << file->notices()[0];
  const Linear w =
      Weights(*file, testing::tested_table(), 1).linear("blk.0.ffn_up.weight", 2, 64).value();
  std::array<float, 64> row{};
  testing::tested_table().dense_row(std::get<DenseMatrix>(w.matrix), 0, row.data());
  for (size_t i = 0; i < row.size(); ++i) {  // codes 0, 1, 2, 1
    const float scale = i < 32 ? 0.5F : 3.0F;
    EXPECT_EQ(row[i], i % 4 == 0 ? -scale : i % 4 == 2 ? scale : 0.0F) << i;
  }
}

TEST_F(OneMlxMatrix, FourBitsBecomeFloatsInAnyModule) {
  config_["quantization"][module_] = {{"group_size", 64}, {"bits", 4}};
  codes_.assign(16, 0xFEDCBA98);
  const auto file = open();
  ASSERT_TRUE(file.has_value()) << file.error().message;
  std::array<float, 64> row{};
  testing::tested_table().dense_row(*dense_matrix(*file->find("blk.0.ffn_up.weight")), 1,
                                    row.data());
  for (size_t i = 0; i < row.size(); ++i) {
    EXPECT_EQ(row[i], 3.0F * static_cast<float>(8 + i % 8) - 3.0F);
  }
}

TEST_F(OneMlxMatrix, TwoBitsOffTheTernaryGridAreFloatsOnlyOutsideTheLayers) {
  numbers_[3] = 0xC0C0;  // -6
  EXPECT_NE(error().find("up_proj.weight: row 1, group 0: expected a bias of -scale -3"),
            std::string::npos)
      << error();
  module_ = "model.embed_tokens";
  const auto file = open();
  ASSERT_TRUE(file.has_value()) << file.error().message;
  std::array<float, 64> row{};
  testing::tested_table().dense_row(*dense_matrix(*file->find("token_embd.weight")), 1, row.data());
  EXPECT_EQ(row[63], 0.0F);  // 2 * 3 - 6
}

TEST_F(OneMlxMatrix, WhatDoesNotFitIsRefused) {
  const auto refused = [&](const char* words) {
    EXPECT_NE(error().find(words), std::string::npos) << error();
  };
  scales_shape_ = {1, 2};
  refused("scales: expected 2 x 1 BF16");
  scales_shape_ = {2, 1};
  dtype_ = "I16";
  refused("scales: expected F32, F16 or BF16, found I16");
  dtype_ = "F16";
  biases_ = ".bias";
  refused("expected biases beside the codes, found none");
  biases_ = ".biases";
  config_["quantization"]["group_size"] = 128;
  refused("expected columns in groups of 128, found 64");
  config_["quantization"]["group_size"] = 48;
  refused("key group_size: expected one of 32, 64, 128, found 48");
  config_["quantization"] = {{"group_size", 64}, {"bits", 3}};
  refused("key bits: expected one of 2, 4, 8, found 3");
  config_["quantization"]["bits"] = "2";
  refused("key bits: expected one of 2, 4, 8, found \"2\"");
  config_["quantization"] = {{"group_size", 32}, {"bits", 4}, {"mode", "mxfp4"}};
  refused("key mode: expected affine, found \"mxfp4\"");
  config_["quantization"] = {{"group_size", 64}, {"bits", 2}, {module_, false}};
  refused("expected floats, as quantization in config.json says, found codes");
}

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
  EXPECT_HAS(error(),
             "quant_method: expected bitnet, dbf, mixed_dbf, mdbf, onebit, gptq, mixed_gptq or "
             "autobit, found awq");
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
