#include "engine/model/tokenizer_special.h"

#include <string>

namespace tern {
namespace {

uint64_t edge(size_t node, char byte) {
  return (static_cast<uint64_t>(node) << 8) | static_cast<unsigned char>(byte);
}

}  // namespace

SpecialMatcher::SpecialMatcher(const Vocabulary& vocabulary, bool sentencepiece) : nodes_(1) {
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const bool control = vocabulary.is_control(id);
    std::string spelling(vocabulary.spellings[static_cast<size_t>(id)]);
    if (spelling.empty() || (!control && vocabulary.type(id) != TokenType::kUserDefined)) {
      continue;
    }
    spelling = sentencepiece ? sentencepiece_decode(spelling, TokenType::kNormal) : spelling;
    starts_[static_cast<unsigned char>(spelling[0])] = true;
    size_t node = 0;
    for (const char byte : spelling) {
      const auto [entry, added] =
          edges_.try_emplace(edge(node, byte), static_cast<uint32_t>(nodes_.size()));
      if (added) {
        nodes_.emplace_back();
      }
      node = entry->second;
    }
    if (nodes_[node].id < 0) {  // of equal spellings the first
      nodes_[node] = {id, control};
    }
  }
}

SpecialMatcher::Found SpecialMatcher::match_at(std::string_view text, size_t start,
                                               bool control) const {
  Found longest{start, 0, -1};
  size_t node = 0;
  for (size_t i = start; i < text.size(); ++i) {
    const auto next = edges_.find(edge(node, text[i]));
    if (next == edges_.end()) {
      break;
    }
    node = next->second;
    if (nodes_[node].id >= 0 && (control || !nodes_[node].control)) {
      longest = {start, i + 1 - start, nodes_[node].id};
    }
  }
  return longest;
}

SpecialMatcher::Found SpecialMatcher::next(std::string_view text, size_t from, bool control) const {
  for (size_t start = from; start < text.size(); ++start) {
    if (starts_[static_cast<unsigned char>(text[start])]) {
      const Found found = match_at(text, start, control);
      if (found.length > 0) {
        return found;
      }
    }
  }
  return {text.size(), 0, -1};
}

}  // namespace tern
