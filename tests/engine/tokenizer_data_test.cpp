// The tokenizers of published models against the ids that other programs give: needs the data
// folder.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "engine/model/tokenizer.h"
#include "tests/support/data_folder.h"
#include "tests/support/source_dir.h"
#include "tests/support/tokenizer_files.h"

namespace tern {
namespace {

std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

Tokenizer from_data(const testing::OwnedTokenizerData& data) {
  auto made = Tokenizer::from_data(data.view());
  EXPECT_TRUE(made) << (made ? "" : made.error().message);
  return std::move(*made);
}

// Every string of strings.jsonl gives the ids under `key`.
void expect_strings(const Tokenizer& tokenizer, const std::filesystem::path& path,
                    const char* key) {
  std::ifstream in(path);
  int cases = 0;
  for (std::string line; std::getline(in, line); ++cases) {
    const auto row = nlohmann::json::parse(line);
    const auto text = row.at("text").get<std::string>();
    EXPECT_EQ(tokenizer.encode(text, {.add_special = false, .parse_special = true}),
              row.at(key).get<std::vector<TokenId>>())
        << key << ", line " << cases + 1 << ": " << row.at("text");
  }
  EXPECT_EQ(cases, 830);
}

// Every case of vectors47.inp gives the line of the same number in `expected`. The 47th, after the
// last separator, is the empty text, which has no line.
void expect_vectors(const Tokenizer& tokenizer, const std::filesystem::path& input,
                    const std::filesystem::path& expected) {
  const std::string text = read_text(input);
  constexpr std::string_view kSeparator = "\n__ggml_vocab_test__\n";
  std::ifstream lines(expected);
  int cases = 0;
  for (size_t start = 0; start <= text.size(); ++cases) {
    const size_t end = std::min(text.find(kSeparator, start), text.size());
    std::string line;
    std::getline(lines, line);
    std::istringstream numbers(line);
    const std::vector<TokenId> want{std::istream_iterator<TokenId>(numbers), {}};
    const std::string one = text.substr(start, end - start);
    EXPECT_EQ(tokenizer.encode(one, {.add_special = false, .parse_special = false}), want)
        << "case " << cases + 1 << ": \"" << one << '"';
    EXPECT_EQ(tokenizer.decode(want), one) << "case " << cases + 1;
    start = end + kSeparator.size();
  }
  EXPECT_EQ(cases, 47);
}

struct Published {
  const char* name;
  const char* file;     // tokenizer.json or vocabulary-only GGUF
  const char* pre;      // for JSON, which does not name it
  const char* strings;  // key in strings.jsonl, or null
  const char* vectors;
};

Tokenizer load(const std::filesystem::path& path, std::string_view pre) {
  if (path.extension() == ".json") {
    return from_data(testing::load_hf_tokenizer(path, pre));
  }
  auto file = TensorFile::open(path);
  EXPECT_TRUE(file) << (file ? "" : file.error().message);
  auto made = Tokenizer::from_file(*file);
  EXPECT_TRUE(made) << (made ? "" : made.error().message);
  return std::move(*made);
}

class PublishedTokenizer : public ::testing::TestWithParam<Published> {};

TEST_P(PublishedTokenizer, GivesTheKnownIds) {
  const Published& p = GetParam();
  TERN_NEEDS_DATA(file, std::filesystem::path("tokenizers") / p.file);
  TERN_NEEDS_DATA(strings, "tokenizers/strings.jsonl");
  TERN_NEEDS_DATA(input, "tokenizers/vectors47.inp");
  const Tokenizer tokenizer = load(file, p.pre);
  expect_vectors(tokenizer, input, input.parent_path() / p.vectors);
  if (p.strings != nullptr) {
    expect_strings(tokenizer, strings, p.strings);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, PublishedTokenizer,
    ::testing::Values(
        Published{"llama3", "llama3_tokenizer.json", "llama-bpe", "llama3",
                  "vectors47-llama-bpe.out"},
        Published{"qwen3", "qwen3_tokenizer.json", "qwen2", "qwen3", "vectors47-qwen2.out"},
        Published{"neox_json", "gpt-neox_20B_tokenizer.json", "mpt", "neox", "vectors47-mpt.out"},
        Published{"neox_gguf", "ggml-vocab-gpt-neox.gguf", "", "neox", "vectors47-mpt.out"},
        Published{"falcon", "ggml-vocab-falcon.gguf", "", nullptr, "vectors47-falcon.out"},
        Published{"llama2", "ggml-vocab-llama-spm.gguf", "", "llama2", "vectors47-llama-spm.out"}),
    [](const auto& test) { return std::string(test.param.name); });

// GPT-2's own vocabulary is not in the folder, but the part of it that these strings need is in the
// repository.
TEST(PublishedExcerpt, Gpt2GivesTheKnownIds) {
  TERN_NEEDS_DATA(strings, "tokenizers/strings.jsonl");
  auto data =
      testing::load_excerpt(testing::source_path("tests/golden/tokenizers/excerpt-gpt-2.json"));
  data.set_token(50256, "<|endoftext|>", TokenType::kControl);
  expect_strings(from_data(data), strings, "gpt2");
}

}  // namespace
}  // namespace tern
