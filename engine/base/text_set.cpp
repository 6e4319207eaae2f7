#include "engine/base/text_set.h"

#include <algorithm>
#include <numeric>

namespace tern {
namespace {

uint64_t edge(uint32_t node, char byte) {
  return uint64_t{node} << 8U | static_cast<uint8_t>(byte);
}

}  // namespace

TextSet::TextSet(std::span<const std::string> texts) : nodes_(1), parents_(1) {
  for (const std::string& text : texts) {
    uint32_t node = 0;
    for (const char byte : text) {
      const auto [entry, added] =
          children_.try_emplace(edge(node, byte), static_cast<uint32_t>(nodes_.size()));
      if (added) {
        nodes_.emplace_back();
        parents_.emplace_back(node, byte);
      }
      node = entry->second;
    }
    nodes_[node].ends = true;
  }
  link();
}

uint32_t TextSet::child(uint32_t node, char byte) const {
  const auto found = children_.find(edge(node, byte));
  return found == children_.end() ? 0 : found->second;
}

// A node's shorter ending follows from its parent's, so that those of short texts must be known first.
void TextSet::link() {
  std::vector<uint32_t> depth(nodes_.size(), 0);
  for (size_t i = 1; i < nodes_.size(); ++i) {
    depth[i] = depth[parents_[i].first] + 1;
  }
  std::vector<uint32_t> order(nodes_.size());
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::stable_sort(order, {}, [&](uint32_t node) { return depth[node]; });
  for (const uint32_t node : order) {
    if (depth[node] < 2) {
      continue;  // one byte has no ending but the empty text
    }
    const auto [parent, byte] = parents_[node];
    uint32_t at = nodes_[parent].shorter;
    while (at != 0 && child(at, byte) == 0) {
      at = nodes_[at].shorter;
    }
    nodes_[node].shorter = child(at, byte);
    nodes_[node].ends |= nodes_[nodes_[node].shorter].ends;
  }
  parents_ = {};
}

bool TextSet::any_in(std::string_view text) const {
  uint32_t node = 0;
  if (nodes_[0].ends) {
    return true;
  }
  for (const char byte : text) {
    while (node != 0 && child(node, byte) == 0) {
      node = nodes_[node].shorter;
    }
    node = child(node, byte);
    if (nodes_[node].ends) {
      return true;
    }
  }
  return false;
}

}  // namespace tern
