#include "engine/model/tokenizer_special.h"

#include <algorithm>
#include <string>

namespace tern {
namespace {

uint64_t edge(size_t node, char byte) {
  return (static_cast<uint64_t>(node) << 8) | static_cast<unsigned char>(byte);
}

bool is_within(SpecialClass inner, SpecialClass outer) {
  return inner >= outer;
}

}  // namespace

bool looks_like_control(std::string_view spelling) {
  const auto within = [&](std::string_view begin, std::string_view end) {
    return spelling.size() > begin.size() + end.size() && spelling.starts_with(begin) &&
           spelling.ends_with(end);
  };
  const bool instruction =  // "[INST]", "[/TOOL_RESULTS]"
      within("[", "]") && std::ranges::all_of(spelling.substr(1, spelling.size() - 2), [](char c) {
        return (c >= 'A' && c <= 'Z') || c == '_' || c == '/';
      });
  return within("<|", ">") || within("<", "|>") || within("<\uFF5C", "\uFF5C>") ||
         within("[|", "|]") || within("<", "_of_turn>") || within("<", "_of_image>") ||
         instruction || spelling == "<bos>" || spelling == "<eos>" || spelling == "<s>" ||
         spelling == "</s>";
}

SpecialMatcher::SpecialMatcher(const Vocabulary& vocabulary, bool sentencepiece) : nodes_(1) {
  std::vector<uint32_t> parents = {0};
  std::vector<char> bytes = {0};
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const bool control = vocabulary.is_control(id);
    std::string spelling(vocabulary.spellings[static_cast<size_t>(id)]);
    if (spelling.empty() || (!control && vocabulary.type(id) != TokenType::kUserDefined)) {
      continue;
    }
    const SpecialClass own = control                        ? SpecialClass::kAll
                             : looks_like_control(spelling) ? SpecialClass::kUserDefined
                                                            : SpecialClass::kPlain;
    spelling = sentencepiece ? sentencepiece_decode(spelling, TokenType::kNormal) : spelling;
    uint32_t node = 0;
    for (size_t i = spelling.size(); i-- > 0;) {
      const auto [entry, added] =
          edges_.try_emplace(edge(node, spelling[i]), static_cast<uint32_t>(nodes_.size()));
      if (added) {
        nodes_.emplace_back();
        parents.push_back(node);
        bytes.push_back(spelling[i]);
      }
      node = entry->second;
    }
    for (const SpecialClass allowed :
         {SpecialClass::kAll, SpecialClass::kUserDefined, SpecialClass::kPlain}) {
      Match& match = nodes_[node].longest[static_cast<size_t>(allowed)];
      if (is_within(own, allowed) && match.id < 0) {  // of equal spellings the first
        match = {id, static_cast<uint32_t>(spelling.size())};
      }
    }
  }
  link(parents, bytes);
}

// Failures and what they bring, nodes nearer to the root first. A node's parent has a smaller
// number, but nodes of one depth are spread: they are sorted by depth.
void SpecialMatcher::link(const std::vector<uint32_t>& parents, const std::vector<char>& bytes) {
  std::vector<uint32_t> depths(nodes_.size());
  std::vector<uint32_t> order(nodes_.size());
  for (uint32_t node = 1; node < nodes_.size(); ++node) {
    depths[node] = depths[parents[node]] + 1;
    order[node] = node;
    if (parents[node] == 0) {
      roots_[static_cast<unsigned char>(bytes[node])] = node;
    }
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return depths[a] < depths[b]; });
  for (const uint32_t node : order) {
    if (depths[node] < 2) {
      continue;  // the root and its children fail to the root
    }
    nodes_[node].failure = step(nodes_[parents[node]].failure, bytes[node]);
    const Node& failure = nodes_[nodes_[node].failure];
    for (size_t i = 0; i < failure.longest.size(); ++i) {
      if (nodes_[node].longest[i].id < 0) {
        nodes_[node].longest[i] = failure.longest[i];
      }
    }
  }
}

uint32_t SpecialMatcher::step(uint32_t node, char byte) const {
  while (node != 0) {
    if (const auto next = edges_.find(edge(node, byte)); next != edges_.end()) {
      return next->second;
    }
    node = nodes_[node].failure;
  }
  return roots_[static_cast<unsigned char>(byte)];
}

std::vector<SpecialMatcher::Found> SpecialMatcher::find_all(
    std::string_view text, SpecialClass allowed, const std::vector<TextSpan>& untrusted) const {
  std::vector<Found> at;    // the longest token at each byte where one starts, from right to left
  uint32_t trusted = 0;     // the automaton over text that is trusted
  uint32_t everywhere = 0;  // and over all of it, for what may stand anywhere
  size_t span = untrusted.size();
  for (size_t i = text.size(); i-- > 0;) {
    while (span > 0 && untrusted[span - 1].begin > i) {
      --span;
    }
    const bool is_untrusted = span > 0 && i < untrusted[span - 1].end;
    trusted = is_untrusted ? 0 : step(trusted, text[i]);
    Match best = nodes_[trusted].longest[static_cast<size_t>(allowed)];
    if (!untrusted.empty()) {
      everywhere = step(everywhere, text[i]);
      const Match& plain = nodes_[everywhere].longest[static_cast<size_t>(SpecialClass::kPlain)];
      best = plain.length > best.length ? plain : best;
    }
    if (best.id >= 0) {
      at.push_back({i, best.length, best.id});
    }
  }
  std::vector<Found> out;
  size_t done = 0;
  for (auto found = at.rbegin(); found != at.rend(); ++found) {
    if (found->start >= done) {
      out.push_back(*found);
      done = found->start + found->length;
    }
  }
  return out;
}

}  // namespace tern
