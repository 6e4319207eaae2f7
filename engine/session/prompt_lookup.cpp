#include "engine/session/prompt_lookup.h"

#include <algorithm>
#include <bit>

#include "engine/base/check.h"

namespace tern {
namespace {

uint64_t hash(std::span<const TokenId> tokens) {
  uint64_t h = 0;
  for (const TokenId token : tokens) {
    h = (h ^ static_cast<uint32_t>(token)) * 0x9E3779B97F4A7C15;  // Fibonacci hashing
    h ^= h >> 29;
  }
  return h;
}

// How many tokens before `end` equal those at the end of the text, at most `most`.
int match_length(std::span<const TokenId> text, size_t end, int most) {
  int length = 0;
  for (size_t back = 1;
       length < most && back <= end && text[end - back] == text[text.size() - back]; ++back) {
    ++length;
  }
  return length;
}

}  // namespace

NgramIndex::NgramIndex(int32_t capacity) {
  // At most half full: one slot for each distinct n-gram, of which a text has fewer than tokens.
  const size_t slots = std::bit_ceil(2 * static_cast<size_t>(capacity) + 1);
  for (std::vector<int32_t>& table : slots_) {
    table.resize(slots);
  }
  mask_ = slots - 1;
}

void NgramIndex::clear() {
  for (std::vector<int32_t>& table : slots_) {
    std::fill(table.begin(), table.end(), 0);
  }
  entered_ = 0;
}

// The slot that holds the n-gram before `end`, or the empty one where it belongs.
size_t NgramIndex::slot_of(std::span<const TokenId> text, size_t end, size_t length) const {
  const std::span<const TokenId> ngram = text.subspan(end - length, length);
  const std::vector<int32_t>& table = slots_[length - 1];
  size_t slot = hash(ngram) & mask_;
  while (table[slot] != 0 &&
         !std::equal(ngram.begin(), ngram.end(),
                     text.begin() + table[slot] - static_cast<std::ptrdiff_t>(length))) {
    slot = (slot + 1) & mask_;
  }
  return slot;
}

// An n-gram is entered when the token after it is known: the end of the text does not find itself.
void NgramIndex::extend(std::span<const TokenId> text) {
  TERN_CHECK(text.size() >= entered_ && text.size() <= mask_ / 2,
             "an indexed text grows at its end, up to the index's capacity");
  for (; entered_ < text.size(); ++entered_) {
    for (size_t length = 1; length <= std::min<size_t>(kLongest, entered_); ++length) {
      slots_[length - 1][slot_of(text, entered_, length)] = static_cast<int32_t>(entered_);
    }
  }
}

NgramIndex::Match NgramIndex::find(std::span<const TokenId> text) const {
  for (size_t length = std::min<size_t>(kLongest, text.size()); length > 0; --length) {
    const int32_t next = slots_[length - 1][slot_of(text, text.size(), length)];
    if (next != 0) {
      return Match{static_cast<int32_t>(length), next};
    }
  }
  return {};
}

bool PromptLookup::begin(std::span<const TokenId> text, KeepGoing) {
  index_.clear();
  index_.extend(text);
  return true;
}

int PromptLookup::look(std::span<const TokenId> text) {
  index_.extend(text);
  const NgramIndex::Match match = index_.find(text);
  if (match.length == 0) {
    return kNoEvidence;
  }
  next_ = static_cast<size_t>(match.next);
  // 1, 2, 3, 4 to 7, 8 to 15, 16 tokens and more.
  constexpr int kLongEnough = 16;
  const int length = match_length(text, next_, kLongEnough);
  return length <= 3 ? length - 1 : static_cast<int>(std::bit_width(static_cast<unsigned>(length)));
}

// A match that reaches the end of the text goes on with its own guesses: the text is in a loop.
size_t PromptLookup::propose(std::span<const TokenId> text, std::span<TokenId> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t at = next_ + i;
    out[i] = at < text.size() ? text[at] : out[at - text.size()];
  }
  return out.size();
}

}  // namespace tern
