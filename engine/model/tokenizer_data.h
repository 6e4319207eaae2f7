#pragma once
// What a file says about its tokenizer, before anything is built from it.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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

// Where SentencePiece (and some byte-level tokenizers) put a space that the text does not have.
enum class SpacePrefix : uint8_t {
  kNever,
  kEverywhere,   // before the text and what follows each special token
  kUnlessSpace,  // the same, but before nothing that begins with a space
  kFirst,        // before the text alone, and only where it begins with neither space nor token
};
// As tern.tokenizer.space_prefix names them; nothing for another name.
std::optional<SpacePrefix> space_prefix_named(std::string_view name);

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
  // What a tokenizer.json says and no key of GGUF's can (tern.tokenizer.*).
  std::optional<SpacePrefix> space_prefix;
  std::optional<bool> nfc;
  std::optional<bool> split_at_spaces;    // SPM: no token reaches past the space that begins a word
  std::span<const int64_t> strips_left;   // tokens that take the white space before them
  std::span<const int64_t> strips_right;  // and behind them
  std::span<const int64_t> single_words;  // that count only where no letter or digit touches them
  std::vector<std::string>
      undone;  // a line for each thing that the file declares and Tern does not do
};

}  // namespace tern
