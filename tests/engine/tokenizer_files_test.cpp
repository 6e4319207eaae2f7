// Folders whose tokenizer lies in SentencePiece's tokenizer.model, or in vocab.json and merges.txt: the ids must be those of
// transformers, and of SentencePiece's own library.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/io/sentencepiece.h"
#include "engine/io/tensor_file.h"
#include "engine/model/tokenizer.h"
#include "tests/support/data_folder.h"
#include "tests/support/source_dir.h"
#include "tests/support/temp_folder.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const fs::path kGolden = testing::source_path("tests/golden");
const fs::path kForms = kGolden / "tokenizer_files";

const Json& expected() {
  static const Json kExpected = Json::parse(std::ifstream(kForms / "expected.json"));
  return kExpected;
}

// A model's folder without any tokenizer.
class TokenizerFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directory(path(""));
    for (const char* name : {"config.json", "model.safetensors"}) {
      fs::copy(kGolden / "hf/llama-bf16" / name, path(name));
    }
  }
  fs::path path(const std::string& name) const { return folder_ / "model" / name; }
  void take(const std::string& vocabulary) {
    for (const auto& entry : fs::directory_iterator(kForms / vocabulary)) {
      fs::copy(entry.path(), path(entry.path().filename().string()),
               fs::copy_options::overwrite_existing);
    }
  }
  void write(const std::string& name, const Json& value) { std::ofstream(path(name)) << value; }
  std::string error() const {
    const auto file = TensorFile::open(folder_ / "model");
    return file ? "" : file.error().message;
  }

  testing::TempFolder folder_;
};

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST_F(TokenizerFiles, IdsAreThoseOfTransformers) {
  size_t compared = 0;
  for (const Json& one : expected()["cases"]) {
    SCOPED_TRACE(one["name"].get<std::string>());
    fs::remove_all(path(""));
    SetUp();
    take(one["vocabulary"]);
    for (const auto& [name, value] : one["files"].items()) {
      write(name, value);
    }
    const auto file = TensorFile::open(folder_ / "model");
    ASSERT_TRUE(file.has_value()) << file.error().message;
    const auto tokenizer = Tokenizer::from_file(*file);
    ASSERT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
    for (size_t i = 0; i < one["ids"].size(); ++i) {
      const std::string text = expected()["texts"][i];
      // Where a text begins with a space, or special tokens stand in it, the steps of tokenizer.json put spaces otherwise
      // than SentencePiece's library, which is compared below.
      const bool spaces = text.starts_with(' ') || text.starts_with("\u2581") ||
                          text.find('<') != std::string::npos;
      if (one["vocabulary"] == "spm" && spaces) {
        continue;
      }
      EXPECT_EQ(tokenizer->encode(text), one["ids"][i].get<std::vector<TokenId>>()) << text;
      ++compared;
    }
  }
  EXPECT_GT(compared, 130U);
}

TEST_F(TokenizerFiles, IdsAreThoseOfSentencePieceItself) {
  take("spm");
  const auto file = TensorFile::open(folder_ / "model");
  ASSERT_TRUE(file.has_value()) << file.error().message;
  const Tokenizer tokenizer = Tokenizer::from_file(*file).value();
  const EncodeOptions plain{.add_special = false, .parse_special = false};
  for (size_t i = 0; i < expected()["texts"].size(); ++i) {
    const std::string text = expected()["texts"][i];
    EXPECT_EQ(tokenizer.encode(text, plain),
              expected()["sentencepiece"][i].get<std::vector<TokenId>>())
        << text;
  }
}

TEST_F(TokenizerFiles, AddedTokensAreFoundAndSpecialOnesControl) {
  take("spm");
  write("added_tokens.json", {{"<pad>", 420}, {"<user>", 421}});
  write("special_tokens_map.json", {{"pad_token", "<pad>"}, {"eos_token", {{"content", "</s>"}}}});
  const TensorFile file = TensorFile::open(folder_ / "model").value();
  const Tokenizer tokenizer = Tokenizer::from_file(file).value();
  EXPECT_EQ(tokenizer.size(), 422);
  EXPECT_TRUE(tokenizer.is_control(tokenizer.find("<pad>")));
  EXPECT_FALSE(tokenizer.is_control(tokenizer.find("<user>")));
  EXPECT_EQ(tokenizer.spelling(tokenizer.eos()), "</s>");
  EXPECT_EQ(tokenizer.spelling(tokenizer.bos()), "<s>");
  EXPECT_EQ(file.get_int("tokenizer.ggml.padding_token_id").value(), 420);
}

TEST_F(TokenizerFiles, FormsThatCannotBeReadAreNamed) {
  EXPECT_HAS(error(), "tokenizer.json: this file is not there");
  std::ofstream(path("vocab.json")) << R"({"a": 0})";
  EXPECT_HAS(error(), "vocab.json with merges.txt, found this file alone");
  EXPECT_HAS(error(), "save_pretrained");
  std::ofstream(path("merges.txt")) << "#version: 0.2\na b c\n";
  EXPECT_HAS(error(), "merges.txt: line 2: expected two parts");
  std::ofstream(path("tokenizer.model")) << "IQ== 0\nIg== 1\n";
  EXPECT_HAS(error(), "found a vocabulary of tiktoken");
  std::ofstream(path("tokenizer.model")) << "version https://git-lfs.github.com/spec/v1\n";
  EXPECT_HAS(error(), "expected a SentencePiece model, found a Git LFS pointer");
}

TEST_F(TokenizerFiles, AnUnknownClassIsReadAsGpt2WithALine) {
  take("bpe");
  const TensorFile file = TensorFile::open(folder_ / "model").value();
  ASSERT_FALSE(file.notices().empty());
  EXPECT_HAS(file.notices()[0], "they are cut as GPT-2's");
}

TEST_F(TokenizerFiles, DamagedModelsAreRefused) {
  std::ifstream in(kForms / "spm/tokenizer.model", std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), {});
  ASSERT_GT(whole.size(), 4000U);
  const auto read = [](const std::string& bytes) {
    return sentencepiece::read(std::as_bytes(std::span(bytes)));
  };
  EXPECT_EQ(read(whole).value().pieces.size(), 420U);
  EXPECT_EQ(read(whole).value().kind, sentencepiece::Model::kBpe);
  // A cut within a field; a length that goes far beyond the end; a varint without one.
  EXPECT_HAS(read(whole.substr(0, 3001)).error().message + "", "damaged");
  EXPECT_FALSE(read("\x0A\xFF\xFF\xFF\xFF\x7F").has_value());
  EXPECT_FALSE(read(std::string(20, '\xFF')).has_value());
  // A piece without text: field 1 (4 bytes): {score 0}.
  EXPECT_HAS(read(std::string("\x0A\x05\x15\0\0\0\0", 7)).error().message,
             "pieces of 1 to 65535 bytes");
}

// Llama 2's own file, with the ids of published tokenizer packages.
TEST_F(TokenizerFiles, Llama2HasItsPublishedIds) {
  TERN_NEEDS_DATA(model, "tokenizers/llama2_spm_tokenizer.model");
  TERN_NEEDS_DATA(strings, "tokenizers/strings.jsonl");
  fs::copy(model, path("tokenizer.model"));
  const TensorFile file = TensorFile::open(folder_ / "model").value();
  const Tokenizer tokenizer = Tokenizer::from_file(file).value();
  std::ifstream in(strings);
  size_t compared = 0;
  for (std::string line; std::getline(in, line);) {
    const Json one = Json::parse(line);
    if (!one.contains("llama2")) {
      continue;
    }
    EXPECT_EQ(tokenizer.encode(one["text"].get<std::string>(), {.add_special = false}),
              one["llama2"].get<std::vector<TokenId>>())
        << one["text"];
    ++compared;
  }
  EXPECT_GT(compared, 800U);
}

}  // namespace
}  // namespace tern
