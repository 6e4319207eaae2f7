#pragma once
// A Hugging Face tokenizer.json as the data that a GGUF file would hold: a way to the tokenizers that is independent of GGUF.

#include <deque>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model/tokenizer_data.h"

namespace tern::test {

// TokenizerData with the memory that it looks into.
struct OwnedTokenizerData {
  std::string model, pre;
  std::deque<std::string> texts;  // its elements never move
  std::vector<std::string_view> tokens, merges;
  std::vector<double> scores;
  std::vector<int64_t> types;
  TokenizerData rest;  // the optional keys

  TokenizerData view() const;
  // Puts a token at `id`, growing the vocabulary with unused ones as needed.
  void set_token(size_t id, std::string_view spelling, TokenType type, double score = 0);
  void add_merge(std::string_view text);
};

// Byte-level BPE files only. Special added tokens become control tokens, the others user-defined ones. Throws on a file that is
// not such a one: a test's input is the test's business.
OwnedTokenizerData load_hf_tokenizer(const std::filesystem::path& path, std::string_view pre);

}  // namespace tern::test
