#pragma once
// Guesses how a text goes on. Guesses may be wrong: the model verifies every one (speculation.h).

#include <cstddef>
#include <span>

#include "engine/base/parallel.h"
#include "engine/model/tokenizer.h"

namespace tern {

class Proposer {
 public:
  using KeepGoing = FunctionRef<bool()>;
  // Kinds of evidence, weakest first. Guesses of one kind are taken to come true equally often.
  static constexpr int kKinds = 6;
  static constexpr int kNoEvidence = -1;

  virtual ~Proposer() = default;

  // A text begins with these tokens. False if `keep_going` said no.
  virtual bool begin(std::span<const TokenId> text, KeepGoing keep_going) = 0;
  // What kind of evidence there is on how `text` goes on: that of the last begin(), with tokens added at its end.
  virtual int look(std::span<const TokenId> text) = 0;
  // Guesses the tokens after the text of the last look(), which must have found evidence. Fills `out` from its front; returns
  // how many guesses there are.
  virtual size_t propose(std::span<const TokenId> text, std::span<TokenId> out) = 0;
  // Whether guesses cost time that is worth counting.
  virtual bool costs_time() const = 0;
};

}  // namespace tern
