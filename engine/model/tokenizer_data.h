#pragma once
// What a file says about its tokenizer, before anything is built from it.

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace tern {

// tokenizer.ggml.token_type. Other values are taken as normal.
enum class TokenType : int8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,      // text only where the caller asks for it: <|eot_id|>, <s>
  kUserDefined = 4,  // found in the text before anything else
  kUnused = 5,
  kByte = 6,  // SentencePiece's <0x00> to <0xFF>
};

// Views into the caller's memory; needed only while the tokenizer is made. The names are those of
// tokenizer.ggml.*.
struct TokenizerData {
  std::string_view model;  // "gpt2": byte-level BPE; "llama": SentencePiece
  std::string_view pre;    // name of the pre-tokenizer (BPE), empty if the file has none
  std::span<const std::string_view> tokens;
  std::span<const double> scores;            // SPM: one per token
  std::span<const int64_t> types;            // one per token, or empty: all normal
  std::span<const std::string_view> merges;  // BPE: "left right", best first
  std::optional<int64_t> bos, eos, unknown;
  std::optional<bool> add_bos, add_eos, add_space_prefix;
};

}  // namespace tern
