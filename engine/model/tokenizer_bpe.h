#pragma once
// Byte-level byte-pair encoding: words to tokens by a ranked list of merges.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/base/result.h"
#include "engine/model/tokenizer_pre.h"
#include "engine/model/tokenizer_vocab.h"

namespace tern {

class BpeModel {
 public:
  // `vocabulary` must outlive the model. Errors name the merge that is not "left right".
  static Result<BpeModel> create(const Vocabulary& vocabulary,
                                 std::span<const std::string_view> merges, PreTokenizer pre,
                                 TokenId unknown);

  // Appends the tokens of `text`, which holds no special tokens. Time: n log n in the length of the
  // longest word.
  void encode(std::string_view text, std::vector<TokenId>& out) const;

  // Whether every byte that occurs in UTF-8 is a token, so that no text is lost.
  bool has_all_bytes() const;

  const PreTokenizer& pre() const { return pre_; }

 private:
  struct Merge {
    uint32_t rank;
    TokenId result;
  };
  // A pair that could be merged. Older ones are not taken back from the queue: they no longer fit
  // the symbols when their turn comes, and are passed over.
  struct Candidate {
    uint32_t rank, position;
    TokenId left, right, result;
  };
  struct Symbol {
    TokenId id;
    uint32_t bytes;  // 0: merged into the one before it
    uint32_t start;
    uint32_t previous, next;  // index, or kNone
  };
  struct Scratch {
    std::vector<Symbol> symbols;
    std::vector<Candidate> queue;  // a heap
  };

  explicit BpeModel(PreTokenizer pre) : pre_(std::move(pre)) {}
  TokenId intern(std::string_view bytes);
  void encode_word(std::string_view word, Scratch& scratch, std::vector<TokenId>& out) const;
  void propose(Scratch& scratch, uint32_t position) const;
  void emit(const Symbol& symbol, std::string_view word, std::vector<TokenId>& out) const;

  PreTokenizer pre_;
  TokenId vocabulary_size_ = 0;
  TokenId unknown_ = -1;
  std::unordered_map<std::string_view, TokenId> by_bytes_;  // views into the vocabulary
  std::unordered_map<std::string, TokenId>
      extra_;  // parts of merges that are no tokens: ids from vocabulary_size_ on
  std::unordered_map<uint64_t, Merge> merges_;  // left id << 32 | right id
  TokenId of_byte_[256] = {};                   // symbol of a single byte
};

}  // namespace tern
