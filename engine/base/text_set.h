#pragma once
// Whether a text contains one of many others.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace tern {

// Time: the length of the text, however many others there are (Aho and Corasick, 1975). Lists in files of other people
// may be long, and searching for each of them would take time in the product of both.
class TextSet {
 public:
  explicit TextSet(std::span<const std::string> texts = {});

  // Whether any of them occurs in `text`. An empty one occurs in every text.
  bool any_in(std::string_view text) const;

 private:
  struct Node {
    uint32_t shorter = 0;  // the longest proper ending of this node's text that is a node too
    bool ends = false;     // one of the texts ends here
  };
  // The node behind `node` by `byte`; 0 if there is none.
  uint32_t child(uint32_t node, char byte) const;
  void link();

  std::vector<Node> nodes_;  // the root first, parents before their children
  std::vector<std::pair<uint32_t, char>> parents_;
  std::unordered_map<uint64_t, uint32_t> children_;
};

}  // namespace tern
