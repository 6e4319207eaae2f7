#pragma once
// Finding special and user-defined tokens in raw text.

#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/model/tokenizer_vocab.h"

namespace tern {

// A tree over the spellings, so that a text is read once, whatever the number of tokens.
class SpecialMatcher {
 public:
  // `sentencepiece`: spellings write spaces as U+2581, and the texts to search have them as spaces.
  SpecialMatcher(const Vocabulary& vocabulary, bool sentencepiece);

  struct Found {
    size_t start, length;  // in the text; length 0: nothing found
    TokenId id;
  };
  // The leftmost token from `from` on, the longest of those that start there. User-defined ones
  // always count, control and unknown ones only if `control`.
  Found next(std::string_view text, size_t from, bool control) const;

 private:
  struct Node {
    TokenId id = -1;  // the token that ends here
    bool control = false;
  };
  Found match_at(std::string_view text, size_t start, bool control) const;

  std::vector<Node> nodes_;
  std::unordered_map<uint64_t, uint32_t> edges_;  // node << 8 | byte -> node
  std::array<bool, 256> starts_{};                // bytes that some token starts with
};

}  // namespace tern
