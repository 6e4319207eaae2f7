#include "engine/model/tokenizer_spm.h"

#include <algorithm>
#include <limits>

#include "engine/model/utf8.h"

namespace tern {
namespace {

constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

// Where the next word begins: at a space that follows something else, or at the end.
size_t next_word(std::string_view text, size_t from) {
  for (size_t i = from + 1; i < text.size(); ++i) {
    if (text[i] == ' ' && text[i - 1] != ' ') {
      return i;
    }
  }
  return text.size();
}

}  // namespace

SpmModel::SpmModel(const Vocabulary& vocabulary, std::span<const double> scores, TokenId unknown,
                   bool split_at_spaces)
    : split_at_spaces_(split_at_spaces), unknown_(unknown) {
  std::ranges::fill(of_byte_, -1);
  pieces_.reserve(vocabulary.spellings.size());
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const std::string_view bytes = vocabulary.bytes[static_cast<size_t>(id)];
    if (vocabulary.type(id) == TokenType::kByte) {
      if (bytes.size() == 1) {
        of_byte_[static_cast<unsigned char>(bytes[0])] = id;
      }
    } else if (!vocabulary.is_control(id)) {
      pieces_.emplace(bytes, Piece{id, static_cast<float>(scores[static_cast<size_t>(id)])});
      longest_ = std::max(longest_, bytes.size());
      joins_words_ = joins_words_ || (!bytes.empty() && next_word(bytes, 0) < bytes.size());
    }
  }
}

bool SpmModel::has_all_bytes() const {
  return std::ranges::all_of(of_byte_, [](TokenId id) { return id >= 0; });
}

void SpmModel::propose(std::string_view text, Scratch& scratch, uint32_t left,
                       uint32_t right) const {
  if (left == kNone || right == kNone) {
    return;
  }
  const Symbol& first = scratch.symbols[left];
  const size_t bytes = first.bytes + scratch.symbols[right].bytes;
  if (bytes > longest_) {
    return;
  }
  const auto found = pieces_.find(text.substr(first.start, bytes));
  if (found != pieces_.end()) {
    scratch.queue.push_back({found->second.score, left, right, bytes});
  }
}

void SpmModel::merge_all(std::string_view text, Scratch& scratch) const {
  // The best score first; of equal ones the leftmost.
  const auto worse = [](const Candidate& a, const Candidate& b) {
    return a.score != b.score ? a.score < b.score : a.left > b.left;
  };
  auto& symbols = scratch.symbols;
  auto& queue = scratch.queue;
  for (uint32_t i = 0; i + 1 < symbols.size(); ++i) {
    propose(text, scratch, i, i + 1);
  }
  std::ranges::make_heap(queue, worse);
  while (!queue.empty()) {
    std::ranges::pop_heap(queue, worse);
    const Candidate best = queue.back();
    queue.pop_back();
    Symbol& left = symbols[best.left];
    Symbol& right = symbols[best.right];
    if (left.bytes == 0 || right.bytes == 0 || left.bytes + right.bytes != best.bytes) {
      continue;
    }
    left.bytes = best.bytes;
    left.next = right.next;
    right.bytes = 0;
    if (left.next != kNone) {
      symbols[left.next].previous = best.left;
    }
    const std::pair<uint32_t, uint32_t> neighbours[] = {{left.previous, best.left},
                                                        {best.left, left.next}};
    for (const auto& [a, b] : neighbours) {
      const size_t before = queue.size();
      propose(text, scratch, a, b);
      if (queue.size() != before) {
        std::ranges::push_heap(queue, worse);
      }
    }
  }
}

void SpmModel::emit(std::string_view piece, std::vector<TokenId>& out) const {
  if (const auto found = pieces_.find(piece); found != pieces_.end()) {
    out.push_back(found->second.id);
    return;
  }
  for (const char byte : piece) {
    const TokenId id = of_byte_[static_cast<unsigned char>(byte)];
    if (id >= 0) {
      out.push_back(id);
    } else if (unknown_ >= 0) {
      out.push_back(unknown_);
      return;  // one for the whole character
    }
  }
}

void SpmModel::encode(std::string_view text, std::vector<TokenId>& out) const {
  if (text.empty()) {
    return;
  }
  // Where no piece reaches from one word into the next, nothing is ever merged across: words one by
  // one give the same tokens with small queues.
  Scratch scratch;
  for (size_t from = 0; from < text.size();) {
    const size_t to = split_at_spaces_ ? std::min(text.find(' ', from + 1), text.size())
                      : joins_words_   ? text.size()
                                       : next_word(text, from);
    encode_part(text.substr(from, to - from), scratch, out);
    from = to;
  }
}

void SpmModel::encode_part(std::string_view text, Scratch& scratch,
                           std::vector<TokenId>& out) const {
  scratch.symbols.clear();
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = first_utf8(text.substr(i));
    const size_t bytes = c.kind == Utf8Kind::kValid ? c.length : 1;
    const auto index = static_cast<uint32_t>(scratch.symbols.size());
    scratch.symbols.push_back({i, bytes, index == 0 ? kNone : index - 1, index + 1});
    i += bytes;
  }
  scratch.symbols.back().next = kNone;
  merge_all(text, scratch);
  for (uint32_t i = 0; i != kNone; i = scratch.symbols[i].next) {
    emit(text.substr(scratch.symbols[i].start, scratch.symbols[i].bytes), out);
  }
}

}  // namespace tern
