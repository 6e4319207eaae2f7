// What a converted file must keep of a model, and what a conversion must not do in silence.

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/arch/model.h"
#include "kernels/select.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/source_dir.h"
#include "tests/support/temp_folder.h"
#include "tools/convert_model.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class ConvertFiles : public ::testing::Test {
 protected:
  fs::path copy(const std::string& name) {
    fs::copy(testing::source_path("tests/golden") / name, folder_ / "model");
    return folder_ / "model";
  }
  void edit(const fs::path& path, const std::function<void(Json&)>& change) {
    Json json = Json::parse(std::ifstream(path));
    change(json);
    std::ofstream(path) << json;
  }
  Result<cli::ConvertReport> convert(const fs::path& in, const char* type) {
    const TensorFile file = TensorFile::open(in).value();
    return cli::convert_model(file, folder_ / "out.gguf",
                              {.type = find_weight_format(type), .threads = 2});
  }

  testing::TempFolder folder_;
};

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST_F(ConvertFiles, EveryDeclaredEndIsKept) {
  const fs::path model = copy("hf/llama-bf16");
  edit(model / "config.json", [](Json& config) { config["eos_token_id"] = {3, 7}; });
  ASSERT_TRUE(convert(model, "BF16").has_value());
  LoadOptions options;
  options.compute.kernels = &best_table();
  const auto stops = [&](const fs::path& path) {
    std::vector<TokenId> ids = Model::load(path, options).value()->stop_tokens();
    std::ranges::sort(ids);
    return ids;
  };
  EXPECT_EQ(stops(folder_ / "out.gguf"), (std::vector<TokenId>{3, 7, 269, 270}));
  EXPECT_EQ(stops(folder_ / "out.gguf"), stops(model));
  // Programs that know llama.cpp's keys alone stop at the first three of them.
  const TensorFile out = TensorFile::open(folder_ / "out.gguf").value();
  EXPECT_EQ(out.get_int("tokenizer.ggml.eos_token_id").value(), 270);
  EXPECT_EQ(out.get_int("tokenizer.ggml.eot_token_id").value(), 269);
  EXPECT_EQ(out.get_int("tokenizer.ggml.eom_token_id").value(), 3);
}

TEST_F(ConvertFiles, NamedChatTemplatesAreKept) {
  const fs::path model = copy("hf/llama-bf16");
  edit(model / "tokenizer_config.json", [](Json& config) {
    config["chat_template"] = {{{"name", "default"}, {"template", "a"}},
                               {{"name", "tool_use"}, {"template", "b"}}};
  });
  ASSERT_TRUE(convert(model, "BF16").has_value());
  const TensorFile out = TensorFile::open(folder_ / "out.gguf").value();
  EXPECT_EQ(out.get_string("tokenizer.chat_template").value(), "a");
  EXPECT_EQ(out.get_string("tokenizer.chat_template.tool_use").value(), "b");
  EXPECT_EQ(**out.get_array<std::string_view>("tokenizer.chat_templates"),
            std::vector<std::string_view>{"tool_use"});
}

TEST_F(ConvertFiles, AMatrixThatIsNotTernaryIsNamed) {
  const fs::path model = copy("hf/llama-tq2_0-groups");
  const auto report = convert(model, "TQ2_0");
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_TRUE(report->not_ternary.empty());
  // Its first weights become 1, 1 + 2^-10, 1 + 2^-9, ...
  std::fstream file(model / "model.safetensors", std::ios::binary | std::ios::in | std::ios::out);
  uint64_t length = 0;
  file.read(reinterpret_cast<char*>(&length), sizeof length);
  std::string header(length, '\0');
  file.read(header.data(), static_cast<std::streamsize>(length));
  const uint64_t begin =
      Json::parse(header)["model.layers.0.mlp.up_proj.weight"]["data_offsets"][0];
  file.seekp(static_cast<std::streamoff>(sizeof length + length + begin));
  for (uint16_t half = 0x3C00; half < 0x3C40; ++half) {
    file.write(reinterpret_cast<const char*>(&half), sizeof half);
  }
  file.close();
  const auto mixed = convert(model, "TQ2_0");
  ASSERT_TRUE(mixed.has_value()) << mixed.error().message;
  EXPECT_EQ(mixed->not_ternary, std::vector<std::string>{"blk.0.ffn_up.weight (F16)"});
}

TEST_F(ConvertFiles, TensorsOfAnEncoderAreLeftOutWithALine) {
  testing::GgufWriter writer;
  writer.set_string("general.architecture", "llama");
  writer.add_f16("blk.0.ffn_up.weight", {64, 1}, std::vector<float>(64, 0.5F));
  writer.add_f16("v.blk.0.attn_q.weight", {64, 1}, std::vector<float>(64, 0.5F));
  writer.add_f16("mm.0.weight", {64, 1}, std::vector<float>(64, 0.5F));
  writer.save(folder_ / "in.gguf");
  const auto report = convert(folder_ / "in.gguf", "F32");
  ASSERT_TRUE(report.has_value()) << report.error().message;
  const TensorFile out = TensorFile::open(folder_ / "out.gguf").value();
  ASSERT_EQ(out.tensors().size(), 1U);
  EXPECT_EQ(out.tensors()[0].name, "blk.0.ffn_up.weight");
  ASSERT_EQ(report->notices.size(), 2U);
  EXPECT_HAS(report->notices[1], "1 tensor of a vision encoder (v.blk.0.attn_q.weight)");
}

TEST_F(ConvertFiles, FilesThatAreNoModelAreRefused) {
  testing::GgufWriter writer;
  writer.set_string("general.architecture", "clip");
  writer.add_f16("v.blk.0.attn_q.weight", {64, 1}, std::vector<float>(64, 0.5F));
  writer.save(folder_ / "in.gguf");
  const auto report = convert(folder_ / "in.gguf", "F32");
  ASSERT_FALSE(report.has_value());
  EXPECT_HAS(report.error().message, "found a projector for images or sound (mmproj)");
  EXPECT_FALSE(fs::exists(folder_ / "out.gguf"));
}

}  // namespace
}  // namespace tern
