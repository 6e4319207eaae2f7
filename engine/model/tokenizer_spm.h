#pragma once
// SentencePiece as Llama 2 uses it: pairs merged by the score of what they make, bytes for what has
// no token.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/model/tokenizer_vocab.h"

namespace tern {

class SpmModel {
 public:
  // `vocabulary` must outlive the model; `scores` has one entry per token. `split_at_spaces`: each
  // space begins a word of its own, past which no token reaches.
  SpmModel(const Vocabulary& vocabulary, std::span<const double> scores, TokenId unknown,
           bool split_at_spaces);

  // Whether every byte is a token, so that no text is lost.
  bool has_all_bytes() const;

  // Appends the tokens of `text`, which holds no special tokens and has spaces as spaces. No space is put in front. Time: n
  // log n.
  void encode(std::string_view text, std::vector<TokenId>& out) const;

 private:
  struct Piece {
    TokenId id;
    float score;
  };
  struct Candidate {
    float score;
    uint32_t left, right;  // symbols
    // Of both together when it was made: another length means that one of them has changed.
    size_t bytes;
  };
  struct Symbol {
    size_t start, bytes;      // in the text; 0 bytes: merged into the one before it
    uint32_t previous, next;  // index, or kNone
  };
  struct Scratch {
    std::vector<Symbol> symbols;
    std::vector<Candidate> queue;  // a heap
  };

  void encode_part(std::string_view text, Scratch& scratch, std::vector<TokenId>& out) const;
  void propose(std::string_view text, Scratch& scratch, uint32_t left, uint32_t right) const;
  void merge_all(std::string_view text, Scratch& scratch) const;
  void emit(std::string_view piece, std::vector<TokenId>& out) const;

  std::unordered_map<std::string_view, Piece>
      pieces_;                // by bytes (spaces as spaces); views into the vocabulary
  bool joins_words_ = false;  // some piece goes on past a space that follows something else
  bool split_at_spaces_ = false;
  size_t longest_ = 0;         // bytes of the longest piece
  TokenId of_byte_[256] = {};  // -1 if there is none
  TokenId unknown_ = -1;
};

}  // namespace tern
