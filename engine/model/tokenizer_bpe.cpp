#include "engine/model/tokenizer_bpe.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

#include <utf8proc.h>

#include "engine/model/utf8.h"

namespace tern {
namespace {

constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

// Sorting a run of combining marks takes quadratic time: longer runs, which no writing has, are
// folded in parts.
constexpr int kMostMarks = 512;

uint64_t pair_key(TokenId left, TokenId right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

// Appends NFC of a piece that is valid UTF-8.
void append_nfc(std::string_view text, std::string& out) {
  utf8proc_uint8_t* folded = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &folded,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(folded, &std::free);
  if (size < 0) {
    out.append(text);
  } else {
    out.append(reinterpret_cast<const char*>(folded), static_cast<size_t>(size));
  }
}

// Unicode's canonical composed form; bytes that are not UTF-8 stay as they are. Empty if nothing
// needs a look.
std::string nfc(std::string_view text) {
  // Below U+0300, whose lead byte is 0xCC, every character is composed already.
  if (std::ranges::none_of(text, [](char c) { return static_cast<unsigned char>(c) >= 0xCC; })) {
    return {};
  }
  std::string out;
  size_t from = 0;
  int marks = 0;  // combining marks in a row
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = first_utf8(text.substr(i));
    const bool valid = c.kind == Utf8Kind::kValid;
    const bool mark =
        valid &&
        utf8proc_get_property(static_cast<utf8proc_int32_t>(c.codepoint))->combining_class != 0;
    marks = mark ? marks + 1 : 0;
    if (!valid || marks == kMostMarks) {
      append_nfc(text.substr(from, i - from), out);
      from = i;
      marks = 0;
    }
    i += c.length;
    if (!valid) {
      out.append(text.substr(from, i - from));
      from = i;
    }
  }
  append_nfc(text.substr(from), out);
  return out;
}

}  // namespace

Result<BpeModel> BpeModel::create(const Vocabulary& vocabulary,
                                  std::span<const std::string_view> merges, PreTokenizer pre,
                                  TokenId unknown) {
  BpeModel model(std::move(pre));
  model.vocabulary_size_ = vocabulary.size();
  model.unknown_ = unknown;
  model.by_bytes_.reserve(vocabulary.spellings.size());
  // Special tokens never come out of merging; the user's own only where no ordinary token has the
  // same bytes.
  for (const bool user_defined : {false, true}) {
    for (TokenId id = 0; id < vocabulary.size(); ++id) {
      if (!vocabulary.is_control(id) &&
          (vocabulary.type(id) == TokenType::kUserDefined) == user_defined) {
        model.by_bytes_.emplace(vocabulary.bytes[static_cast<size_t>(id)], id);
      }
    }
  }
  for (int byte = 0; byte < 256; ++byte) {
    model.of_byte_[byte] = model.intern(std::string(1, static_cast<char>(byte)));
  }
  model.merges_.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const size_t space = merges[i].find(' ', 1);
    if (space == std::string_view::npos || space + 1 == merges[i].size()) {
      return Error{"tokenizer.ggml.merges[" + std::to_string(i) +
                   "]: expected two parts with a space between, found \"" + std::string(merges[i]) +
                   "\""};
    }
    const std::string left = byte_level_decode(merges[i].substr(0, space));
    const std::string right = byte_level_decode(merges[i].substr(space + 1));
    const uint64_t key = pair_key(model.intern(left), model.intern(right));
    model.merges_.emplace(key, Merge{static_cast<uint32_t>(i), model.intern(left + right)});
  }
  return model;
}

bool BpeModel::has_all_bytes() const {
  for (int byte = 0; byte < 256; ++byte) {
    const bool in_utf8 = byte != 0xC0 && byte != 0xC1 && byte < 0xF5;
    if (in_utf8 && of_byte_[byte] >= vocabulary_size_) {
      return false;
    }
  }
  return true;
}

TokenId BpeModel::intern(std::string_view bytes) {
  if (const auto found = by_bytes_.find(bytes); found != by_bytes_.end()) {
    return found->second;
  }
  const TokenId next = vocabulary_size_ + static_cast<TokenId>(extra_.size());
  return extra_.emplace(bytes, next).first->second;
}

void BpeModel::encode(std::string_view text, std::vector<TokenId>& out) const {
  const std::string folded = pre_.folds_to_nfc() ? nfc(text) : std::string();
  Scratch scratch;
  for (const std::string_view word : pre_.split(folded.empty() ? text : folded)) {
    const auto whole = pre_.whole_words_first() ? by_bytes_.find(word) : by_bytes_.end();
    if (whole != by_bytes_.end()) {
      out.push_back(whole->second);
    } else {
      encode_word(word, scratch, out);
    }
  }
}

void BpeModel::propose(Scratch& scratch, uint32_t position) const {
  const Symbol& left = scratch.symbols[position];
  if (left.next == kNone) {
    return;
  }
  const TokenId right = scratch.symbols[left.next].id;
  const auto found = merges_.find(pair_key(left.id, right));
  if (found != merges_.end()) {
    scratch.queue.push_back({found->second.rank, position, left.id, right, found->second.result});
  }
}

void BpeModel::encode_word(std::string_view word, Scratch& scratch,
                           std::vector<TokenId>& out) const {
  // The best rank first; of equal ones the leftmost.
  const auto worse = [](const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  auto& symbols = scratch.symbols;
  auto& queue = scratch.queue;
  symbols.clear();
  queue.clear();
  const auto count = static_cast<uint32_t>(word.size());
  for (uint32_t i = 0; i < count; ++i) {
    symbols.push_back({of_byte_[static_cast<unsigned char>(word[i])], 1, i, i == 0 ? kNone : i - 1,
                       i + 1 == count ? kNone : i + 1});
  }
  for (uint32_t i = 0; i < count; ++i) {
    propose(scratch, i);
  }
  std::ranges::make_heap(queue, worse);
  while (!queue.empty()) {
    std::ranges::pop_heap(queue, worse);
    const Candidate best = queue.back();
    queue.pop_back();
    Symbol& left = symbols[best.position];
    if (left.bytes == 0 || left.id != best.left || left.next == kNone ||
        symbols[left.next].id != best.right) {
      continue;
    }
    Symbol& right = symbols[left.next];
    left.id = best.result;
    left.bytes += right.bytes;
    left.next = right.next;
    right.bytes = 0;
    if (left.next != kNone) {
      symbols[left.next].previous = best.position;
    }
    for (const uint32_t changed : {left.previous, best.position}) {
      const size_t before = queue.size();
      if (changed != kNone) {
        propose(scratch, changed);
      }
      if (queue.size() != before) {
        std::ranges::push_heap(queue, worse);
      }
    }
  }
  for (uint32_t i = 0; i != kNone && i < count; i = symbols[i].next) {
    emit(symbols[i], word, out);
  }
}

void BpeModel::emit(const Symbol& symbol, std::string_view word, std::vector<TokenId>& out) const {
  if (symbol.id < vocabulary_size_) {
    out.push_back(symbol.id);
    return;
  }
  // The merges led to something that is no token: its bytes, one by one. A vocabulary without a
  // byte loses it unless it has an "unknown" token.
  for (const char byte : word.substr(symbol.start, symbol.bytes)) {
    const TokenId id = of_byte_[static_cast<unsigned char>(byte)];
    if (id < vocabulary_size_) {
      out.push_back(id);
    } else if (unknown_ >= 0) {
      out.push_back(unknown_);
    }
  }
}

}  // namespace tern
