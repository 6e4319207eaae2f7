// Model files as people have them after a download that went wrong, an edit, a conversion by another program: each must be called
// what it is, and what it declares must be used or named.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/arch/model.h"
#include "engine/base/json_limits.h"
#include "engine/base/text_set.h"
#include "engine/io/file_type.h"
#include "engine/io/hf_rope.h"
#include "engine/io/lora_file.h"
#include "kernels/select.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/source_dir.h"
#include "tests/support/temp_folder.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const fs::path kGolden = testing::source_path("tests/golden");

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_file(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// A copy of a small model's folder, to be changed.
class ModelFiles : public ::testing::Test {
 protected:
  void copy(const std::string& name) {
    fs::remove_all(path(""));
    fs::copy(kGolden / name, folder_ / "model", fs::copy_options::recursive);
  }
  fs::path path(const std::string& name) const { return folder_ / "model" / name; }
  void edit(const std::string& name, const std::function<void(Json&)>& change) {
    Json json = fs::exists(path(name)) ? Json::parse(std::ifstream(path(name))) : Json::object();
    change(json);
    write_file(path(name), json.dump());
  }
  std::string error(const fs::path& what) const {
    const auto file = TensorFile::open(what);
    return file ? "" : file.error().message;
  }
  std::string error() const { return error(folder_ / "model"); }
  std::shared_ptr<const Model> load(const fs::path& what, const std::string& chat = "") const {
    LoadOptions options;
    options.compute.kernels = &best_table();
    options.chat_template = chat;
    auto model = Model::load(what, options);
    EXPECT_TRUE(model.has_value()) << model.error().message;
    return model ? *model : nullptr;
  }
  std::shared_ptr<const Model> load() const { return load(folder_ / "model"); }
  static bool has_notice(std::span<const std::string> notices, const std::string& words) {
    return std::ranges::any_of(
        notices, [&](const std::string& text) { return text.find(words) != std::string::npos; });
  }

  testing::TempFolder folder_;
};

constexpr const char* kPointer =
    "version https://git-lfs.github.com/spec/v1\noid sha256:"
    "0000000000000000000000000000000000000000000000000000000000000000\nsize 4920000000\n";

// ---- Files that are not what their names say.

TEST_F(ModelFiles, APointerIsCalledOneInThePlaceOfEveryFile) {
  for (const char* name :
       {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json",
        "generation_config.json", "chat_template.jinja", "chat_template.json", "added_tokens.json",
        "special_tokens_map.json", "model.safetensors.index.json"}) {
    SCOPED_TRACE(name);
    copy("hf/llama-bf16");
    write_file(path(name), kPointer);
    EXPECT_HAS(error(), std::string(name) + ": expected a");
    EXPECT_HAS(error(), "found a Git LFS pointer: fetch the file itself with \"git lfs pull\"");
  }
  copy("hf/qwen3-f32");
  write_file(path("model-00002-of-00002.safetensors"), kPointer);
  EXPECT_HAS(error(), "model-00002-of-00002.safetensors: expected a safetensors file, found a Git");
  write_file(folder_ / "a.gguf", kPointer);
  EXPECT_HAS(error(folder_ / "a.gguf"), "expected a GGUF file, found a Git LFS pointer");
  for (const char* name : {"adapter_model.safetensors", "adapter_config.json"}) {
    copy("lora/wide");
    write_file(path(name), kPointer);
    const auto adapter = LoraFile::open(folder_ / "model");
    ASSERT_FALSE(adapter.has_value());
    EXPECT_HAS(adapter.error().message, std::string(name) + ": expected a");
    EXPECT_HAS(adapter.error().message, "git lfs pull");
  }
}

TEST_F(ModelFiles, OtherFilesAreCalledWhatTheyAre) {
  using namespace std::string_literals;
  const std::pair<std::string, const char*> kinds[] = {
      {"<!doctype html><html><head>", "a web page"},
      {"\xEF\xBB\xBF\n<HTML>", "a web page"},
      {"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", "an XML text"},
      {"Entry not found", "a server's refusal (\"Entry not found\")"},
      {"# xet version 0\nfilesize = 3", "a Git Xet pointer"},
      {"/annex/objects/SHA256E-s1--00", "a git-annex pointer"},
      {"", "an empty file"},
      {"\x1F\x8B\x08\x00 gzip of a file"s, "a gzip file"},
      {"PK\x03\x04 of torch.save", "a ZIP or PyTorch file"},
      {"\x80\x02}q\x00. an old torch.save"s, "a Python pickle"},
      {"\x28\xB5\x2F\xFD compressed", "a Zstandard file"},
      {std::string(4096, '\0'), "nothing but zeros"},
      {"\x89HDF\r\n\x1A\n and more"s, "an HDF5 file"}};
  copy("hf/llama-bf16");
  for (const auto& [bytes, what] : kinds) {
    SCOPED_TRACE(what);
    write_file(path("model.safetensors"), bytes);
    EXPECT_HAS(error(), "model.safetensors: expected a safetensors file, found "s + what);
    write_file(folder_ / "a.gguf", bytes);
    EXPECT_HAS(error(folder_ / "a.gguf"), "a.gguf: expected a GGUF file, found "s + what);
  }
  copy("hf/llama-bf16");
  for (const auto& [bytes, what] : kinds) {
    SCOPED_TRACE(what);
    write_file(path("tokenizer.json"), bytes);
    EXPECT_HAS(error(), "tokenizer.json: expected a JSON object, found "s + what);
  }
  write_file(path("tokenizer.json"), read_file(kGolden / "models/llama-f32.gguf"));
  EXPECT_HAS(error(), "found a GGUF file");
  write_file(folder_ / "b.gguf", read_file(kGolden / "hf/llama-bf16/model.safetensors"));
  EXPECT_HAS(error(folder_ / "b.gguf"), "found a safetensors file");
}

// Eight bytes of a header's length may look like anything: those of this file begin like gzip.
TEST_F(ModelFiles, ALengthThatLooksLikeAnotherFileIsRead) {
  copy("hf/llama-bf16");
  const std::string bytes = read_file(path("model.safetensors"));
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  const uint64_t padded = 0x8B1F;
  ASSERT_LT(length, padded);
  std::string out(sizeof padded, '\0');
  std::memcpy(out.data(), &padded, sizeof padded);
  out += bytes.substr(sizeof length, length) + std::string(padded - length, ' ') +
         bytes.substr(sizeof length + length);
  write_file(path("model.safetensors"), out);
  EXPECT_EQ(error(), "");
}

TEST_F(ModelFiles, DownloadsThatWereNotFinishedAreNamed) {
  copy("hf/llama-bf16");
  fs::rename(path("model.safetensors"), path("model.safetensors.part"));
  EXPECT_HAS(error(), "model.safetensors.part lies beside it: its download was not finished");
  fs::remove(path("model.safetensors.part"));
  fs::create_symlink("../../blobs/0123", path("model.safetensors"));
  EXPECT_HAS(error(), "this is a link to ../../blobs/0123, which is not there");
  const std::string whole = read_file(kGolden / "models/llama-f32.gguf");
  write_file(folder_ / "c.gguf", whole.substr(0, whole.size() - 100));
  write_file(folder_ / "c.gguf.aria2", "x");
  EXPECT_HAS(error(folder_ / "c.gguf"), "c.gguf.aria2 lies beside it");
}

// ---- Ends.

TEST_F(ModelFiles, EveryPlaceThatDeclaresEndsCounts) {
  copy("hf/llama-bf16");  // generation_config.json: [269, 270]; tokenizer_config.json: 270
  edit("config.json", [](Json& config) { config["eos_token_id"] = {3, 7, 99999}; });
  edit("tokenizer_config.json", [](Json& config) { config["eot_token"] = "a"; });
  edit("generation_config.json", [](Json& config) { config["stop_strings"] = {"b", "no token"}; });
  const auto model = load();
  const Tokenizer& tokenizer = model->tokenizer();
  std::vector<TokenId> stops = model->stop_tokens();
  std::ranges::sort(stops);
  std::vector<TokenId> all = {3, 7, 269, 270, tokenizer.find("a"), tokenizer.find("b")};
  std::ranges::sort(all);
  EXPECT_EQ(stops, all);
  EXPECT_TRUE(has_notice(model->notices(), "99999 is the id of no token"));
  EXPECT_TRUE(has_notice(model->notices(), "stop_strings: no token"));
}

TEST_F(ModelFiles, OneEndWithoutAnyOtherFileIsTheEos) {
  copy("hf/llama-bf16");
  fs::remove(path("generation_config.json"));
  fs::remove(path("tokenizer_config.json"));
  edit("config.json", [](Json& config) { config["eos_token_id"] = 5; });
  const auto model = load();
  EXPECT_EQ(model->tokenizer().eos(), 5);
  EXPECT_NE(std::ranges::find(model->stop_tokens(), 5), model->stop_tokens().end());
}

// ---- Chat templates.

TEST_F(ModelFiles, ChatTemplatesAreFoundInEveryPlace) {
  const auto rendered = [&](const Model& model) {
    return model.chat_template().render({{"user", "hi"}}, true).value();
  };
  const char* source = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}";
  const std::string text = "[user]hi";
  copy("hf/llama-bf16");
  edit("chat_template.json", [&](Json& json) { json["chat_template"] = source; });
  EXPECT_EQ(rendered(*load()), text);

  copy("hf/llama-bf16");
  fs::create_directory(path("additional_chat_templates"));
  write_file(path("chat_template.jinja"), source);
  write_file(path("additional_chat_templates/tool_use.jinja"), "tools:{{ messages[0].content }}");
  edit("chat_template.json", [&](Json& json) { json["chat_template"] = "another"; });
  const auto model = load();
  EXPECT_EQ(rendered(*model), text);
  EXPECT_TRUE(has_notice(model->notices(), "chat_template.json: key chat_template is not in use"));
  EXPECT_TRUE(has_notice(model->notices(), "not in use: tool_use"));
  EXPECT_EQ(rendered(*load(folder_ / "model", "tool_use")), "tools:hi");

  copy("hf/llama-bf16");
  edit("tokenizer_config.json", [&](Json& json) {
    json["chat_template"] = {{{"name", "rag"}, {"template", "rag"}},
                             {{"name", "default"}, {"template", source}}};
  });
  EXPECT_EQ(rendered(*load()), text);
  EXPECT_TRUE(has_notice(load()->notices(), "not in use: rag"));
  edit("tokenizer_config.json", [&](Json& json) { json["chat_template"] = 5; });
  EXPECT_HAS(error(), "tokenizer_config.json: key chat_template: expected a text");
}

// ---- RoPE. The truths are what transformers 5.24.0 makes of these files (its configuration's rope_parameters).

std::vector<float> frequencies(const fs::path& folder) {
  const TensorFile file = TensorFile::open(folder).value();
  std::vector<std::string> notices;
  return read_config(file, notices).value().ropes[0].inverse_frequencies;
}

TEST_F(ModelFiles, RopeParametersTakeTheBaseFromOutside) {
  copy("hf/llama-llama3-rope");
  const std::vector<float> truth = frequencies(path(""));  // its logits are those of transformers
  edit("config.json", [](Json& config) {
    config["rope_parameters"] = config["rope_scaling"];
    config.erase("rope_scaling");  // rope_theta, 500, stays beside it
  });
  EXPECT_EQ(frequencies(path("")), truth);
  edit("config.json", [](Json& config) {
    config["rope_parameters"]["rope_theta"] = 500;
    config.erase("rope_theta");
  });
  EXPECT_EQ(frequencies(path("")), truth);
  // Both names with the same, and with null.
  edit("config.json", [](Json& config) {
    config["rope_scaling"] = config["rope_parameters"];
    config["rope_theta"] = 500.0;
    config["partial_rotary_factor"] = nullptr;
  });
  EXPECT_EQ(frequencies(path("")), truth);
  edit("config.json", [](Json& config) {
    config["rope_scaling"] = nullptr;
    config["rope_parameters"]["rope_theta"] = nullptr;
  });
  EXPECT_EQ(frequencies(path("")), truth);
}

TEST_F(ModelFiles, RopeThatContradictsItselfIsRefusedByName) {
  const auto refused = [&](const std::function<void(Json&)>& change, const char* words) {
    copy("hf/llama-llama3-rope");
    edit("config.json", [&](Json& config) {
      config["rope_parameters"] = config["rope_scaling"];
      config["rope_parameters"]["rope_theta"] = 500;
      change(config);
    });
    EXPECT_HAS(error(), words);
    EXPECT_HAS(error(), "contradicts itself");
  };
  refused([](Json& c) { c["rope_parameters"]["rope_theta"] = 10000.0; },
          "key rope_parameters.rope_theta is 10000.0, but rope_theta is 500.0");
  refused([](Json& c) { c["rope_scaling"]["factor"] = 4.0; },
          "key rope_parameters.factor is 8.0, but factor is 4.0");
  refused([](Json& c) { c["rope_scaling"]["rope_type"] = "default"; },
          "key rope_parameters.rope_type is \"llama3\"");
  refused([](Json& c) { c["rope_parameters"]["partial_rotary_factor"] = 0.5; },
          "partial_rotary_factor is not set");
  refused(
      [](Json& c) {
        c["layer_types"] = {"full_attention", "sliding_attention"};
        c["rope_parameters"] = {{"full_attention", c["rope_parameters"]},
                                {"sliding_attention", {{"rope_theta", 20000}}}};
        c["rope_scaling"] = nullptr;
      },
      "key rope_parameters.sliding_attention.rope_theta is 20000");
}

TEST(HfRope, EachKindOfLayersHasItsOwnInGemma) {
  const auto read = [](const Json& config) { return read_hf_rope(config, "gemma3"); };
  // Values: transformers.Gemma3TextConfig(**config).rope_parameters
  const Json usual = {{"rope_theta", 1e6}, {"rope_type", "default"}};
  EXPECT_EQ(read(Json::object()).value().full, usual);
  EXPECT_EQ(read(Json::object()).value().windowed,
            (Json{{"rope_theta", 1e4}, {"rope_type", "default"}}));
  const auto old = read({{"rope_theta", 5e5},
                         {"rope_local_base_freq", 2e4},
                         {"rope_scaling", {{"rope_type", "linear"}, {"factor", 8.0}}}})
                       .value();
  EXPECT_EQ(old.full, (Json{{"rope_theta", 5e5}, {"rope_type", "linear"}, {"factor", 8.0}}));
  EXPECT_EQ(old.windowed["rope_theta"], 2e4);
  const auto both = read({{"rope_parameters",
                           {{"full_attention", {{"rope_type", "default"}, {"rope_theta", 3e5}}},
                            {"sliding_attention", {{"rope_theta", 3e4}}}}}})
                        .value();
  EXPECT_EQ(both.full["rope_theta"], 3e5);
  EXPECT_EQ(both.windowed["rope_theta"], 3e4);
  EXPECT_FALSE(read({{"rope_local_base_freq", 2e4},
                     {"rope_parameters", {{"sliding_attention", {{"rope_theta", 3e4}}}}}})
                   .has_value());
  EXPECT_FALSE(read({{"rope_parameters", {{"rope_theta", 3e5}}}}).has_value());
  EXPECT_EQ(read_hf_rope(Json::object(), "bitnet-b1.58").value().full["rope_theta"], 5e5);
}

TEST_F(ModelFiles, ScalingThatIsNotComputedIsRefused) {
  const auto refused = [&](const Json& scaling, const char* words) {
    copy("hf/llama-bf16");
    edit("config.json", [&](Json& config) { config["rope_scaling"] = scaling; });
    EXPECT_HAS(error(), words);
  };
  refused({{"rope_type", "llama3"}, {"factor", 8}}, "rope_parameters.low_freq_factor");
  refused({{"rope_type", "linear"}}, "rope_parameters.factor: expected a number above 0");
  refused({{"type", "yarn"}, {"factor", 4}, {"attention_factor", 2.0}}, "attention_factor");
  refused({{"type", "yarn"}, {"factor", 4}, {"mscale", 0.7}, {"mscale_all_dim", 1.0}}, "mscale");
  refused({{"type", "yarn"}, {"factor", 4}, {"truncate", false}}, "truncate");
  refused({{"type", "yarn"}, {"rope_type", "linear"}, {"factor", 4}}, "rope_type is \"linear\"");
  refused({{"rope_type", "proportional"}}, "found proportional");
  refused("linear", "rope_scaling: expected an object");
}

// ---- What is declared and cannot be done.

TEST_F(ModelFiles, DeclaredTokensWithoutAnIdAreNamed) {
  copy("hf/llama-bf16");
  edit("tokenizer_config.json", [](Json& config) {
    config["bos_token"] = "<nothing>";
    config["pad_token"] = "[PAD]";
    config["add_bos_token"] = true;
  });
  edit("tokenizer.json", [](Json& json) { json["post_processor"] = nullptr; });
  const auto model = load();
  EXPECT_TRUE(has_notice(model->notices(), "key bos_token: <nothing> is not in the vocabulary"));
  EXPECT_TRUE(has_notice(model->notices(), "key pad_token: [PAD] is not in the vocabulary"));
  EXPECT_TRUE(has_notice(model->notices(), "add_bos_token is true, but no token begins a text"));
}

TEST_F(ModelFiles, KeysOfAGgufFileThatAreNotDoneAreNamed) {
  testing::GgufWriter writer;
  writer.set_bool("tokenizer.ggml.remove_extra_whitespaces", true);
  writer.set_bool("tokenizer.ggml.add_sep_token", true);
  writer.set_bool("tokenizer.ggml.add_space_prefix", true);
  writer.set_string("tokenizer.ggml.model", "gpt2");
  writer.set_string("tokenizer.ggml.pre", "gpt-2");
  writer.set_strings("tokenizer.ggml.tokens", {"a", "b"});
  writer.set_int("tokenizer.ggml.unknown_token_id", 0);
  writer.save(folder_ / "keys.gguf");
  const TensorFile file = TensorFile::open(folder_ / "keys.gguf").value();
  const Tokenizer tokenizer = Tokenizer::from_file(file).value();
  const auto& notices = tokenizer.notices();
  EXPECT_EQ(notices.size(), 3U);
  EXPECT_TRUE(has_notice(notices, "remove_extra_whitespaces"));
  EXPECT_TRUE(has_notice(notices, "add_sep_token"));
  EXPECT_TRUE(has_notice(notices, "add_space_prefix"));
}

TEST_F(ModelFiles, AVocabularyThatLosesCharactersSaysSo) {
  copy("hf/llama-bf16");
  edit("tokenizer.json", [](Json& json) { json["model"]["vocab"].erase("a"); });
  EXPECT_TRUE(has_notice(load()->notices(), "characters that it lacks are left out"));
}

TEST_F(ModelFiles, VectorsOfTheLastTokenWithoutAnEndAreWarnedOf) {
  copy("hf/qwen3-f32");
  fs::create_directory(path("1_Pooling"));
  write_file(path("1_Pooling/config.json"), R"({"pooling_mode_lasttoken": true})");
  EXPECT_TRUE(has_notice(load()->notices(), "vectors are taken from the last token"));
  edit("tokenizer.json", [](Json& json) {
    json["post_processor"]["single"].push_back(
        {{"SpecialToken", {{"id", "<|end_of_text|>"}, {"type_id", 0}}}});
  });
  EXPECT_FALSE(has_notice(load()->notices(), "vectors are taken from the last token"));
}

// ---- Parts of split models.

// A model's GGUF file as two parts, by the keys that llama.cpp's llama-gguf-split writes.
class SplitModel : public ModelFiles {
 protected:
  void SetUp() override {
    fs::create_directory(path(""));
    part(0).save(path("m-00001-of-00002.gguf"));
    part(1).save(path("m-00002-of-00002.gguf"));
  }
  static testing::GgufWriter part(int number) {
    testing::GgufWriter writer;
    writer.set_string("general.architecture", "llama");
    writer.set_int("split.no", number, testing::GgufKind::kUint16);
    writer.set_int("split.count", 2, testing::GgufKind::kUint16);
    writer.set_int("split.tensors.count", 2, testing::GgufKind::kInt32);
    writer.add_f32(number == 0 ? "a.weight" : "b.weight", {4}, {1, 2, 3, 4});
    return writer;
  }
};

TEST_F(SplitModel, AFolderOfPartsIsOpened) {
  EXPECT_EQ(TensorFile::open(folder_ / "model").value().tensors().size(), 2U);
  write_file(path("mmproj-x.gguf"), "GGUF");
  EXPECT_EQ(TensorFile::open(folder_ / "model").value().tensors().size(), 2U);
  part(0).save(path("other.gguf"));
  EXPECT_HAS(error(), "found 2: give one of these files: m-00001-of-00002.gguf, other.gguf");
}

TEST_F(SplitModel, PartsJoinedByCatAreCalledThat) {
  const std::string joined =
      read_file(path("m-00001-of-00002.gguf")) + read_file(path("m-00002-of-00002.gguf"));
  write_file(folder_ / "joined.gguf", joined);
  EXPECT_HAS(error(folder_ / "joined.gguf"), "the file is longer than its tensors");
  EXPECT_HAS(error(folder_ / "joined.gguf"), "`cat` does not join them");
}

TEST_F(SplitModel, MissingAndForeignPartsAreNamed) {
  fs::rename(path("m-00002-of-00002.gguf"), path("m-00002-of-00002.gguf.part"));
  EXPECT_HAS(error(), "part 2 of 2 of this model is missing, but m-00002-of-00002.gguf.part");
  fs::remove(path("m-00002-of-00002.gguf.part"));
  EXPECT_HAS(error(), "part 2 of 2 of this model is missing: put it beside");
  part(0).save(path("m-00002-of-00002.gguf"));
  EXPECT_HAS(error(), "expected part 2 of 2 of a split model, found part 1 of 2");
  const std::string whole = read_file(kGolden / "models/llama-f32.gguf");
  write_file(folder_ / "m.gguf-split-a", whole.substr(0, whole.size() / 2));
  EXPECT_HAS(error(folder_ / "m.gguf-split-a"), "join all of them with `cat`");
}

TEST_F(ModelFiles, SafetensorsJoinedByCatAreCalledThat) {
  copy("hf/llama-bf16");
  const std::string one = read_file(path("model.safetensors"));
  write_file(path("model.safetensors"), one + one);
  EXPECT_HAS(error(), "goes on with another safetensors file");
}

TEST_F(ModelFiles, FoldersWithoutAModelSayWhatTheyHold) {
  copy("lora/wide");
  EXPECT_HAS(error(), "found a LoRA adapter: give its model with -m, and this folder with --lora");
  fs::remove_all(path(""));
  fs::create_directory(path(""));
  EXPECT_HAS(error(), "found a directory without either");
  write_file(path("config.json.part"), "");
  EXPECT_HAS(error(), "config.json.part lies beside it");
  write_file(path("pytorch_model.bin"), "PK");
  EXPECT_HAS(error(), "PyTorch files, which can run programs");
}

TEST_F(ModelFiles, ShardsWithoutTheirIndexAreNamed) {
  copy("hf/qwen3-f32");
  fs::remove(path("model.safetensors.index.json"));
  EXPECT_HAS(error(), "found model-00001-of-00002.safetensors and 1 more without an index");
  copy("hf/qwen3-f32");
  fs::rename(path("model-00002-of-00002.safetensors"), path("two.safetensors"));
  EXPECT_HAS(error(), "model-00002-of-00002.safetensors: this file is not there");
}

// ---- Parts of models that see and hear.

TEST_F(ModelFiles, TextRunsWithoutTheTensorsOfAnEncoder) {
  copy("hf/llama-bf16");
  const std::string bytes = read_file(path("model.safetensors"));
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  Json header = Json::parse(bytes.substr(sizeof length, length));
  const size_t data = bytes.size() - sizeof length - length;
  for (const char* name : {"vision_tower.blocks.0.qkv.weight", "model.visual.patch_embed.weight",
                           "audio_tower.conv1.weight", "multi_modal_projector.linear.weight"}) {
    header[name] = {{"dtype", "F8_E4M3"}, {"shape", {2, 2}}, {"data_offsets", {data, data}}};
  }
  for (const char* name : {"vision_tower.blocks.0.qkv.weight", "model.visual.patch_embed.weight",
                           "audio_tower.conv1.weight", "multi_modal_projector.linear.weight"}) {
    header[name]["shape"] = {0, 2};
  }
  const std::string text = header.dump();
  const uint64_t size = text.size();
  std::string out(sizeof size, '\0');
  std::memcpy(out.data(), &size, sizeof size);
  write_file(path("model.safetensors"), out + text + bytes.substr(sizeof length + length));
  const auto model = load();
  EXPECT_TRUE(has_notice(model->notices(),
                         "2 tensors of a vision encoder (model.visual.patch_embed"
                         ".weight, vision_tower.blocks.0.qkv.weight) not in use"));
  EXPECT_TRUE(has_notice(model->notices(), "1 tensor of an audio encoder (audio_tower.conv1"));
  EXPECT_TRUE(has_notice(model->notices(), "1 tensor of a projector from another encoder"));
}

TEST_F(ModelFiles, OtherKindsOfGgufFilesAreRefusedByName) {
  const auto refused = [&](const char* type, const char* architecture, const char* words) {
    testing::GgufWriter writer;
    writer.set_string("general.type", type);
    writer.set_string("general.architecture", architecture);
    writer.add_f32("v.patch_embd.weight", {4}, {1, 2, 3, 4});
    writer.save(folder_ / "other.gguf");
    LoadOptions options;
    options.compute.kernels = &best_table();
    const auto model = Model::load(folder_ / "other.gguf", options);
    ASSERT_FALSE(model.has_value());
    EXPECT_HAS(model.error().message, words);
  };
  refused("mmproj", "clip", "found a projector for images or sound (mmproj)");
  refused("adapter", "llama", "found a LoRA adapter");
  refused("imatrix", "llama", "found an importance matrix");
}

// ---- Limits on what a small file may cost.

TEST(JsonLimits, ValuesAndContainersAreBounded) {
  const auto list = [](size_t count, const std::string& one) {
    std::string text = "[" + one;
    for (size_t i = 1; i < count; ++i) {
      text += "," + one;
    }
    return text + "]";
  };
  EXPECT_FALSE(exceeds_json_limits(list(900'000, "{}")));
  EXPECT_TRUE(exceeds_json_limits(list(1'000'001, "{}")));
  EXPECT_FALSE(exceeds_json_limits(list(3'900'000, "1")));
  EXPECT_TRUE(exceeds_json_limits(list(4'100'000, "1")));
  EXPECT_FALSE(exceeds_json_limits("\"" + std::string(5'000'000, '{') + "\""));
  EXPECT_FALSE(exceeds_json_limits(R"(["\"[[[[", 1])"));
  EXPECT_TRUE(exceeds_json_limits(std::string(65, '[')));
}

TEST(TextSet, FindsWhatSearchingForEachFinds) {
  const std::vector<std::string> texts = {"abc", "bcd", "c", "xyz", "aab", "ab"};
  std::string text(6, 'a');
  // All texts of six letters of "abcx", for every subset of the first letters' worth of texts.
  for (size_t count = 0; count <= texts.size(); ++count) {
    const std::span<const std::string> some(texts.data(), count);
    const TextSet set(some);
    for (int number = 0; number < 4096; ++number) {
      for (size_t i = 0; i < text.size(); ++i) {
        text[i] = "abcx"[(number >> (2 * i)) & 3];
      }
      bool found = false;
      for (size_t i = 0; i < count; ++i) {
        found |= text.find(texts[i]) != std::string::npos;
      }
      ASSERT_EQ(set.any_in(text), found) << text << " " << count;
    }
  }
  const std::string empty;
  EXPECT_TRUE(TextSet(std::span(&empty, 1)).any_in(""));
}

TEST_F(ModelFiles, ListsOfHostileLengthAreRefused) {
  copy("hf/llama-bf16");
  Json map;
  for (int i = 0; i < 10'001; ++i) {
    map["t" + std::to_string(i)] = "shard" + std::to_string(i);
  }
  write_file(path("model.safetensors.index.json"), Json{{"weight_map", map}}.dump());
  EXPECT_HAS(error(), "expected at most 10000 files");

  copy("hf/llama-bf16");
  edit("tokenizer.json",
       [](Json& json) { json["added_tokens"][3]["content"] = std::string(257, 'a'); });
  LoadOptions options;
  options.compute.kernels = &best_table();
  const auto model = Model::load(path(""), options);
  ASSERT_FALSE(model.has_value());
  EXPECT_HAS(model.error().message, "expected a special token of at most 256 bytes");
}

// ---- Types.

TEST_F(ModelFiles, FloatsUnderATernaryFileTypeAreNamed) {
  const auto notices = [&](bool ternary, bool says) {
    testing::GgufWriter writer;
    writer.set_string("general.architecture", "llama");
    if (says) {
      writer.set_int("general.file_type", 40);
    }
    std::vector<float> values(64 * 2);
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] =
          ternary ? 0.5F * static_cast<float>(static_cast<int>(i % 3) - 1) : static_cast<float>(i);
    }
    writer.add_f16("blk.0.ffn_up.weight", {64, 2}, values);
    writer.save(folder_ / "types.gguf");
    return notices_of_types(TensorFile::open(folder_ / "types.gguf").value());
  };
  ASSERT_EQ(notices(true, true).size(), 1U);
  EXPECT_HAS(notices(true, true)[0], "the file says that it is I2_S, but 1 of 1 matrices");
  EXPECT_HAS(notices(true, true)[0], "`tern convert types.gguf OUT.gguf --type i2_s`");
  ASSERT_EQ(notices(true, false).size(), 1U);
  EXPECT_HAS(notices(true, false)[0], "--type tq2_0");
  ASSERT_EQ(notices(false, true).size(), 1U);
  EXPECT_HAS(notices(false, true)[0], "blk.0.ffn_up.weight (F16), whose weights are not ternary");
  EXPECT_EQ(notices(false, false).size(), 0U);
}

}  // namespace
}  // namespace tern
