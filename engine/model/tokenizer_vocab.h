#pragma once
// The tokens of a model: spelling, bytes, type, and the way back.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/model/tokenizer.h"
#include "engine/model/tokenizer_data.h"

namespace tern {

struct Vocabulary {
  Vocabulary() = default;
  Vocabulary(const Vocabulary&) = delete;  // the views point into the pool
  Vocabulary& operator=(const Vocabulary&) = delete;

  std::string pool;  // holds every text below; never grows after it was filled
  std::vector<std::string_view> spellings;  // as the file has them: "Ġonce", "▁once", "<0x0A>"
  std::vector<std::string_view>
      bytes;  // what they stand for: " once", "\n"; special ones as spelled
  std::vector<TokenType> types;
  std::unordered_map<std::string_view, TokenId> by_spelling;  // the first of equal ones

  int32_t size() const { return static_cast<int32_t>(spellings.size()); }
  TokenType type(TokenId id) const { return types[static_cast<size_t>(id)]; }
  // Tokens that stand for something other than text: shown only on request.
  bool is_control(TokenId id) const {
    return type(id) == TokenType::kControl || type(id) == TokenType::kUnknown;
  }
};

// Byte-level BPE writes each byte as a printable character: bytes that print in Latin-1 as
// themselves, the others as U+0100 and up in order. `spelling` back to bytes; characters outside
// that alphabet stay as they are.
std::string byte_level_decode(std::string_view spelling);

// SentencePiece spells a space as U+2581 and a single byte as "<0x0A>" (only for type kByte).
std::string sentencepiece_decode(std::string_view spelling, TokenType type);

// Fills a vocabulary with the tokens of `data`; `decode` turns the spelling of an ordinary token
// into its bytes.
void fill_vocabulary(const TokenizerData& data,
                     const std::function<std::string(std::string_view, TokenType)>& decode,
                     Vocabulary& vocabulary);

}  // namespace tern
