#pragma once
// Tokenizers out of JSON files, as the data that a GGUF file would hold: a way to them that is
// independent of GGUF.

#include <deque>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model/tokenizer_data.h"

namespace tern::testing {

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

// How byte-level BPE spells a byte; written from its description, not from the engine's table.
std::string byte_spelling(unsigned byte);

// All of these throw on a file that is not what they expect: a test's input is the test's business.

// A Hugging Face tokenizer.json with byte-level BPE. Special added tokens become control tokens,
// the others user-defined ones.
OwnedTokenizerData load_hf_tokenizer(const std::filesystem::path& path, std::string_view pre);
// tern-bpe.json, excerpt-*.json and tern-spm.json of tests/golden/tokenizers.
OwnedTokenizerData load_own_bpe(const std::filesystem::path& path, std::string_view pre);
OwnedTokenizerData load_excerpt(const std::filesystem::path& path);
OwnedTokenizerData load_own_spm(const std::filesystem::path& path, bool space_prefix);

}  // namespace tern::testing
