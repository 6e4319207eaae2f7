#pragma once
// Finding special and user-defined tokens in raw text.

#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/model/marked_text.h"
#include "engine/model/tokenizer_vocab.h"

namespace tern {

// Which tokens a text may spell.
enum class SpecialClass : uint8_t {
  kAll,          // control and user-defined ones
  kUserDefined,  // no control tokens
  kPlain,        // nor user-defined ones that are spelled as control tokens are: "<|tool|>"
};

// True of user-defined tokens that steer a chat though their file calls them text.
bool looks_like_control(std::string_view spelling);

// An automaton (Aho and Corasick's) over the spellings, read from the end of the text to its
// beginning: what it knows at a byte is the longest token that starts there. So the time is linear
// in the text, whatever the tokens are.
class SpecialMatcher {
 public:
  // `sentencepiece`: spellings write spaces as U+2581, and the texts to search have them as spaces.
  SpecialMatcher(const Vocabulary& vocabulary, bool sentencepiece);

  struct Found {
    size_t start, length;  // in the text
    TokenId id;
  };
  // The tokens in a text, from left to right, none within another, of those that start at a byte
  // the longest. A token that is not kPlain must lie outside of `untrusted`.
  std::vector<Found> find_all(std::string_view text, SpecialClass allowed,
                              const std::vector<TextSpan>& untrusted) const;

 private:
  struct Match {
    TokenId id = -1;
    uint32_t length = 0;
  };
  struct Node {
    uint32_t failure = 0;
    std::array<Match, 3> longest;  // by SpecialClass
  };
  uint32_t step(uint32_t node, char byte) const;
  void link(const std::vector<uint32_t>& parents, const std::vector<char>& bytes);

  std::vector<Node> nodes_;
  std::unordered_map<uint64_t, uint32_t> edges_;  // node << 8 | byte -> node
  std::array<uint32_t, 256> roots_{};             // the root's edges
};

}  // namespace tern
