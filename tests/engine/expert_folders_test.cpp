// Mixtures of experts in Hugging Face folders, against the logits of transformers and of plain functions (make_experts.py and
// make_maple.py in tests/golden/experts): as transformers 4 and 5 save them, as MLX keeps them, and with each expert's matrices in
// every form that ternary weights have in folders, which the test writes from the codes of maple-mlx.

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

#include "engine/io/experts.h"
#include "engine/io/safetensors.h"
#include "engine/model/expert_matrix.h"
#include "engine/session/session.h"
#include "tests/support/golden_logits.h"
#include "tests/support/packed_experts.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tested_table.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using testing::kGolden;
using testing::read_golden;

TEST(ExpertFolder, AgreesWithTransformersAndWithPlainFunctions) {
  const std::pair<const char*, const char*> folders[] = {
      {"qwen3moe", "qwen3moe-f16"}, {"qwen3moe-fused", "qwen3moe-f16"}, {"maple-mlx", "maple-mlx"}};
  for (const auto& [folder, truth] : folders) {
    const testing::Golden golden = read_golden(std::string("experts/") + truth);
    for (const int32_t batch : {32, 7, 1}) {
      EXPECT_LT(testing::distance(kGolden / "experts" / folder, golden, batch), 1e-3)
          << folder << " in passes of " << batch;
    }
  }
}

// A tensor of a safetensors file.
struct Part {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

void append(std::string& bytes, auto value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void write_safetensors(const fs::path& path, const std::map<std::string, Part>& parts) {
  Json header = Json::object();
  std::string data;
  for (const auto& [name, part] : parts) {
    header[name] = {{"dtype", part.dtype},
                    {"shape", part.shape},
                    {"data_offsets", {data.size(), data.size() + part.bytes.size()}}};
    data += part.bytes;
  }
  const std::string text = header.dump();
  std::string bytes;
  append(bytes, uint64_t{text.size()});
  std::ofstream(path, std::ios::binary) << bytes << text << data;
}

// Whatever maple-mlx says in two bits, as trits and a scale for each row.
struct Codes {
  std::vector<int64_t> shape;  // rows, columns; experts before them
  std::vector<int8_t> trits;
  std::vector<float> scales;

  int64_t cols() const { return shape.back(); }
  int64_t rows() const { return shape[shape.size() - 2]; }
};

class MapleFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directory(folder_ / "model");
    const fs::path source = kGolden / "experts/maple-mlx";
    config_ = Json::parse(std::ifstream(source / "config.json"));
    for (const char* file : {"tokenizer.json", "tokenizer_config.json"}) {
      fs::copy_file(source / file, folder_ / "model" / file);
    }
    const MappedFile file = std::move(MappedFile::open(source / "model.safetensors")).value();
    const auto entries = safetensors::read(file.bytes()).value();
    for (const safetensors::Entry& entry : entries) {
      const std::string bytes(reinterpret_cast<const char*>(entry.data.data()), entry.data.size());
      parts_[entry.name] = Part{entry.dtype, entry.shape, bytes};
    }
  }

  // Takes a matrix of two bits out of the parts.
  Codes take(const std::string& module) {
    const Part weight = parts_.extract(module + ".weight").mapped();
    const Part alphas = parts_.extract(module + ".row_alpha").mapped();
    Codes out{weight.shape, {}, {}};
    out.shape.back() *= 16;
    for (const char byte : weight.bytes) {
      for (unsigned i = 0; i < 4; ++i) {
        out.trits.push_back(static_cast<int8_t>(((static_cast<uint8_t>(byte) >> 2 * i) & 3) - 1));
      }
    }
    for (size_t i = 0; i < alphas.bytes.size(); i += 2) {
      uint16_t bits = 0;
      std::memcpy(&bits, &alphas.bytes[i], sizeof bits);
      out.scales.push_back(std::bit_cast<float>(uint32_t{bits} << 16U));
    }
    return out;
  }
  std::vector<std::string> two_bit_modules() const {
    std::vector<std::string> modules;
    for (const auto& [name, part] : parts_) {
      if (name.ends_with(".row_alpha")) {
        modules.push_back(name.substr(0, name.rfind('.')));
      }
    }
    return modules;
  }
  // Calls body(module, rows, columns, trits, scales) for every matrix, each expert's apart under its name in folders of DeepGrove and of
  // transformers.
  void for_each_matrix(auto body) {
    for (const std::string& module : two_bit_modules()) {
      const Codes codes = take(module);
      const size_t switched = module.find("switch_mlp.");
      const int64_t experts = codes.shape.size() == 3 ? codes.shape[0] : 1;
      const auto rows = static_cast<size_t>(codes.rows());
      const size_t weights = rows * static_cast<size_t>(codes.cols());
      for (size_t i = 0; i < static_cast<size_t>(experts); ++i) {
        const std::string name = switched == std::string::npos
                                     ? module
                                     : module.substr(0, switched) + "experts." + std::to_string(i) +
                                           module.substr(switched + 10);
        body(name, codes.rows(), codes.cols(), std::span(codes.trits).subspan(i * weights, weights),
             std::span(codes.scales).subspan(i * rows, rows));
      }
    }
  }
  // Embedding and head as the floats that they stand for, as the other weights are: nothing of MLX is left.
  void use_floats() {
    for (const char* module : {"model.word_embeddings", "lm_head"}) {
      const std::string name(module);
      const Part codes = parts_.extract(name + ".weight").mapped();
      const Part scales = parts_.extract(name + ".scales").mapped();
      parts_.erase(name + ".biases");
      Part floats{"F32", {codes.shape[0], codes.shape[1] * 8}, ""};
      for (size_t i = 0; i < 2 * codes.bytes.size(); ++i) {  // biases are -8 scales, groups rows
        const auto byte = static_cast<uint8_t>(codes.bytes[i / 2]);
        uint16_t bits = 0;
        std::memcpy(&bits, &scales.bytes[i / 64 * 2], sizeof bits);
        const auto code = static_cast<float>(i % 2 == 0 ? byte & 15 : byte >> 4);
        append(floats.bytes, (code - 8) * std::bit_cast<float>(uint32_t{bits} << 16U));
      }
      parts_[name + ".weight"] = floats;
    }
    config_.erase("quantization");
  }
  // Every matrix in BF16.
  void use_bfloats() {
    use_floats();
    for_each_matrix([&](const std::string& name, int64_t rows, int64_t cols,
                        std::span<const int8_t> trits, std::span<const float> scales) {
      Part part{"BF16", {rows, cols}, ""};
      for (size_t i = 0; i < trits.size(); ++i) {
        const float value = static_cast<float>(trits[i]) * scales[i / static_cast<size_t>(cols)];
        append(part.bytes, static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16U));
      }
      parts_[name + ".weight"] = part;
    });
  }

  fs::path write() const {
    std::ofstream(folder_ / "model/config.json") << config_;
    write_safetensors(folder_ / "model/model.safetensors", parts_);
    return folder_ / "model";
  }
  double distance(std::optional<Activations> activations = {}) const {
    return testing::distance(write(), read_golden("experts/maple-mlx"), 32, activations);
  }
  std::string error() const {
    LoadOptions options;
    options.compute = Compute{&testing::tested_table(), 1};
    const auto model = Model::load(write(), options);
    return model ? "" : model.error().message;
  }

  testing::TempFolder folder_;
  Json config_;
  std::map<std::string, Part> parts_;
};

// As DeepGrove publishes the model: floats that are ternary. An expert is packed when a token goes to it.
TEST_F(MapleFolder, ExpertsOfTernaryFloatsArePackedWhenATokenGoesToThem) {
  use_bfloats();
  EXPECT_LT(distance(), 1e-3);
  LoadOptions options;
  options.compute = Compute{&testing::tested_table(), 2};
  const auto model = Model::load(folder_ / "model", options).value();
  EXPECT_EQ(model->file().find("blk.1.ffn_up_exps.7.weight")->format->name, "BF16/ternary");
  EXPECT_EQ(testing::packed_experts(*model), std::vector<int32_t>(6, 0));
  Session session = std::move(Session::create(model, {.context = 256})).value();
  const TokenId token = 65;
  session.append({&token, 1});
  EXPECT_EQ(testing::packed_experts(*model), std::vector<int32_t>(6, 3));
}

// Only the first expert was looked at when the folder was opened.
TEST_F(MapleFolder, AnExpertThatIsNotTernaryIsMultipliedAsItIs) {
  use_bfloats();
  std::string& bytes = parts_["model.layers.0.mlp.experts.5.up_proj.weight"].bytes;
  const uint16_t other = 0x4110;  // 9
  std::memcpy(&bytes[2 * 130], &other, sizeof other);
  const TensorFile file = std::move(TensorFile::open(write())).value();
  Weights weights(file, testing::tested_table(), 1);
  const ExpertMatrix& matrix = *weights.experts("blk.0.ffn_up_exps.weight", 64, 64, 8).value();
  EXPECT_TRUE(matrix.of(4).ternary());
  const Linear linear = matrix.of(5);
  ASSERT_FALSE(linear.ternary());
  EXPECT_EQ(matrix.packed(), 1);
  std::vector<float> row(64);
  for (int32_t r = 0; r < 64; ++r) {
    testing::tested_table().dense_row(std::get<DenseMatrix>(linear.matrix), r, row.data());
    for (size_t i = 0; i < row.size(); ++i) {
      uint16_t bits = 0;
      std::memcpy(&bits, &bytes[2 * (64 * static_cast<size_t>(r) + i)], sizeof bits);
      ASSERT_EQ(row[i], std::bit_cast<float>(uint32_t{bits} << 16U));
    }
  }
}

// One scale for each matrix: in floats, which the tests above check, packed as BitNet's layers are, and as master weights that are
// rounded by their mean magnitude.
TEST_F(MapleFolder, ExpertsMayBeBitNetLayers) {
  use_floats();
  const std::map<std::string, Part> rest = parts_;
  const auto logits = [&](const std::string& mode) {
    parts_ = rest;
    for_each_matrix([&](const std::string& name, int64_t rows, int64_t cols,
                        std::span<const int8_t> trits, std::span<const float> scales) {
      const float scale = scales[0];
      const size_t quarter = trits.size() / 4;
      if (mode == "packed") {
        Part codes{"U8", {rows / 4, cols}, std::string(quarter, '\0')};
        for (size_t i = 0; i < trits.size(); ++i) {
          codes.bytes[i % quarter] |= static_cast<char>((trits[i] + 1) << 2 * (i / quarter));
        }
        parts_[name + ".weight"] = codes;
        append((parts_[name + ".weight_scale"] = Part{"F32", {1}, ""}).bytes, scale);
        return;
      }
      const auto nonzero =
          static_cast<float>(std::ranges::count_if(trits, [](int8_t t) { return t != 0; }));
      const float value =
          mode == "master" ? scale * static_cast<float>(trits.size()) / nonzero : scale;
      Part floats{"F32", {rows, cols}, ""};
      for (const int8_t trit : trits) {
        append(floats.bytes, static_cast<float>(trit) * value);
      }
      parts_[name + ".weight"] = floats;
    });
    if (mode != "floats") {
      config_["quantization_config"] = {
          {"quant_method", "bitnet"},
          {"linear_class", "autobitlinear"},
          {"modules_to_not_convert", {"lm_head", "mlp.gate."}},
          {"quantization_mode", mode == "packed" ? "offline" : "online"}};
    }
    const TensorFile file = std::move(TensorFile::open(write())).value();
    return testing::DecoderRunner(file, testing::tested_table(), 2, Activations::kInt8)
        .logits(read_golden("experts/maple-mlx").tokens, 32);
  };
  // use_floats() left the codes in `rest`.
  const std::vector<float> truth = logits("floats");
  for (const char* mode : {"packed", "master"}) {
    EXPECT_LT(testing::overall(testing::differences(logits(mode), truth, 272)), 1e-4) << mode;
  }
}

TEST_F(MapleFolder, WhatDoesNotFitIsRefused) {
  const auto refused = [&](const char* words) {
    EXPECT_NE(error().find(words), std::string::npos) << error();
  };
  const Json config = config_;
  config_["nope_on_global_attention"] = false;
  refused("nope_on_global_attention: expected true");
  config_ = config;
  config_["norm_topk_prob"] = false;
  refused("norm_topk_prob: expected true");
  config_ = config;
  config_["num_shared_experts"] = 1;
  refused("num_shared_experts: expected 0");
  config_ = config;
  config_["mlp_only_layers"] = {0};
  refused("mlp_only_layers: expected none");
  config_ = config;
  config_["decoder_sparse_step"] = 2;
  refused("decoder_sparse_step: expected 1");
  config_ = config;
  parts_["model.layers.0.self_attn.q_proj.row_alpha"].shape = {8, 8};
  refused("row_alpha: expected 64 (one for each row)");
}

TEST_F(MapleFolder, MissingAndUnequalExpertsAreRefused) {
  use_bfloats();
  const std::map<std::string, Part> parts = parts_;
  parts_.erase("model.layers.1.mlp.experts.6.down_proj.weight");
  EXPECT_NE(error().find("blk.1.ffn_down_exps.6.weight: expected 64 x 64, found no such tensor"),
            std::string::npos)
      << error();
  parts_ = parts;
  Part& part = parts_["model.layers.1.mlp.experts.6.down_proj.weight"];
  part.dtype = "F16";
  EXPECT_NE(error().find("as those of the experts before it"), std::string::npos) << error();
  parts_ = parts;
  parts_["model.layers.0.mlp.experts.8.up_proj.weight"] = part;
  EXPECT_NE(error().find("blk.0.ffn_up_exps.8.weight"), std::string::npos) << error();
  parts_["model.layers.0.mlp.experts.gate_up_proj"] = Part{"BF16", {3, 1, 1}, std::string(6, '\0')};
  EXPECT_NE(error().find("the rows of up behind those of gate"), std::string::npos) << error();
}

TEST(ExpertName, IsOneOfOneExpertsWeights) {
  const auto name = parse_expert_name("blk.3.ffn_up_exps.17.weight");
  ASSERT_TRUE(name.has_value());
  EXPECT_EQ(name->matrix, "blk.3.ffn_up_exps.weight");
  EXPECT_EQ(name->index, 17);
  EXPECT_EQ(expert_name(name->matrix, 17), "blk.3.ffn_up_exps.17.weight");
  for (const char* other :
       {"blk.3.ffn_up_exps.weight", "blk.3.ffn_up_exps.17.scale", "blk.3.ffn_up_exps.x.weight",
        "blk.3.ffn_up_exps..weight", "blk.3.ffn_up_exps.1x.weight", "blk.3.ffn_up.1.weight",
        "blk.3.ffn_up_exps.-1.weight", "_exps.weight"}) {
    EXPECT_FALSE(parse_expert_name(other).has_value()) << other;
  }
}

}  // namespace
}  // namespace tern
