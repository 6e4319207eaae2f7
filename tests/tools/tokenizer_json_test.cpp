// The tokens of folders with the steps that published tokenizer.json files have, and of the GGUF
// files that are converted from them: the ids that Hugging Face's tokenizers gives
// (tests/golden/tokenizers/json.json, which make_json.py beside it writes).

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/io/formats.h"
#include "engine/model/tokenizer.h"
#include "tests/support/source_dir.h"
#include "tests/support/temp_folder.h"
#include "tools/convert_model.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

const Json& golden() {
  static const Json json = [] {
    std::ifstream file(testing::source_path("tests/golden/tokenizers/json.json"));
    return Json::parse(file);
  }();
  return json;
}

// A folder of golden weights with the tokenizer of one case.
class JsonFolder {
 public:
  explicit JsonFolder(const Json& one) {
    const fs::path source = testing::source_path("tests/golden/hf/llama-bf16");
    fs::create_directory(path());
    // Without generation_config.json, whose ends are ids of that folder's own vocabulary.
    for (const char* name : {"config.json", "model.safetensors"}) {
      fs::copy_file(source / name, path() / name);
    }
    Json tokenizer = golden()["bases"][one["base"].get<std::string>()];
    for (const auto& [key, value] : one["changes"].items()) {
      if (key == "model") {
        tokenizer["model"].update(value);
      } else {
        tokenizer[key] = value;
      }
    }
    std::ofstream(path() / "tokenizer.json") << tokenizer;
  }

  fs::path path() const { return folder_ / "model"; }
  fs::path converted() const { return folder_ / "converted.gguf"; }

 private:
  testing::TempFolder folder_;
};

void expect_ids(const fs::path& path, const Json& one) {
  const auto file = TensorFile::open(path);
  ASSERT_TRUE(file) << file.error().message;
  const auto tokenizer = Tokenizer::from_file(*file);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  for (size_t i = 0; i < golden()["texts"].size(); ++i) {
    const std::string text = golden()["texts"][i];
    EXPECT_EQ(tokenizer->encode(text, {.add_special = false}),
              one["ids"][i].get<std::vector<TokenId>>())
        << '"' << text << '"';
  }
}

TEST(TokenizerJson, FoldersAndConvertedFilesHaveTheIdsOfTokenizers) {
  for (const auto& [name, one] : golden()["cases"].items()) {
    SCOPED_TRACE(name);
    const JsonFolder folder(one);
    expect_ids(folder.path(), one);
    const auto file = TensorFile::open(folder.path());
    ASSERT_TRUE(file) << file.error().message;
    const auto done = cli::convert_model(*file, folder.converted(), {.type = &formats::kBf16});
    ASSERT_TRUE(done) << done.error().message;
    SCOPED_TRACE("converted");
    expect_ids(folder.converted(), one);
  }
}

// What RoBERTa's post-processor puts around a text.
TEST(TokenizerJson, TokensAroundATextComeFromThePostProcessor) {
  const Json changes = {{"post_processor",
                         {{"type", "RobertaProcessing"},
                          {"sep", Json::array({"</s>", 2})},
                          {"cls", Json::array({"<s>", 1})}}}};
  const JsonFolder folder(Json{{"base", "bytes"}, {"changes", changes}});
  std::ofstream(folder.path() / "tokenizer_config.json") << R"({"bos_token": "<s>"})";
  const auto file = TensorFile::open(folder.path());
  ASSERT_TRUE(file) << file.error().message;
  const auto tokenizer = Tokenizer::from_file(*file);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  const auto ids = tokenizer->encode("the");
  ASSERT_GE(ids.size(), 3U);
  EXPECT_EQ(tokenizer->spelling(ids.front()), "<s>");
  EXPECT_EQ(tokenizer->spelling(ids.back()), "</s>");
}

// A step that is left out would make other tokens in silence.
TEST(TokenizerJson, StepsThatAreNotDoneAreRefused) {
  const std::pair<Json, const char*> cases[] = {
      {{{"normalizer", {{"type", "NFKC"}}}}, "NFKC"},
      {{{"normalizer", {{"type", "Lowercase"}}}}, "Lowercase"},
      {{{"normalizer",
         {{"type", "Sequence"}, {"normalizers", {{{"type", "Strip"}}, {{"type", "NFC"}}}}}}},
       "Strip"},
      {{{"normalizer", {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "b"}}}},
       "Replace of something else"},
      {{{"pre_tokenizer", {{"type", "BertPreTokenizer"}}}}, "BertPreTokenizer"},
      {{{"pre_tokenizer", {{"type", "WhitespaceSplit"}}}}, "WhitespaceSplit"},
      {{{"model", {{"end_of_word_suffix", "</w>"}}}}, "end_of_word_suffix"},
      {{{"post_processor",
         {{"type", "TemplateProcessing"},
          {"single",
           {{{"SpecialToken", {{"id", "<s>"}}}},
            {{"SpecialToken", {{"id", "</s>"}}}},
            {{"Sequence", {{"id", "A"}}}}}}}}},
       "at most one token before"},
  };
  for (const auto& [changes, word] : cases) {
    const JsonFolder folder(Json{{"base", "spm"}, {"changes", changes}});
    const auto file = TensorFile::open(folder.path());
    ASSERT_FALSE(file) << word;
    EXPECT_NE(file.error().message.find(word), std::string::npos) << file.error().message;
  }
}

}  // namespace
}  // namespace tern
