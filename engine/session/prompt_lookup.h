#pragma once
// Proposes what followed the last time: texts repeat names, phrases, code and whole passages.

#include <array>
#include <cstdint>
#include <vector>

#include "engine/session/proposer.h"

namespace tern {

// Where each n-gram of 1 to kLongest tokens occurred last. Allocates only in its constructor.
class NgramIndex {
 public:
  static constexpr int32_t kLongest = 3;

  struct Match {
    int32_t length = 0;  // of the n-gram; 0 = none occurred before
    int32_t next = 0;    // position of the token that followed it
  };

  // For texts of up to `capacity` tokens.
  explicit NgramIndex(int32_t capacity);

  void clear();
  // Enters what was added to the text since the last call (or clear()).
  void extend(std::span<const TokenId> text);
  // The latest earlier occurrence of the longest n-gram at the end of `text`, which must be entered whole.
  Match find(std::span<const TokenId> text) const;

 private:
  size_t slot_of(std::span<const TokenId> text, size_t end, size_t length) const;

  // slots_[n - 1]: an open hash table of n-grams. A slot holds the position after the n-gram's last occurrence, which both
  // answers a search and, with the text, spells the n-gram. 0 = empty: no n-gram ends there.
  std::array<std::vector<int32_t>, kLongest> slots_;
  size_t mask_ = 0;
  size_t entered_ = 0;
};

// The continuation of the latest earlier occurrence of the text's end. The longer the match, the stronger the evidence.
class PromptLookup final : public Proposer {
 public:
  explicit PromptLookup(int32_t context) : index_(context) {}

  bool begin(std::span<const TokenId> text, KeepGoing keep_going) override;
  int look(std::span<const TokenId> text) override;
  size_t propose(std::span<const TokenId> text, std::span<TokenId> out) override;
  bool costs_time() const override { return false; }

 private:
  NgramIndex index_;
  size_t next_ = 0;  // position in the text whose tokens are proposed
};

}  // namespace tern
