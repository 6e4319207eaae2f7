#pragma once
// Texts as vectors: the last layer's outputs of a text's tokens, made one. No logits are computed.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/base/result.h"
#include "engine/session/session.h"

namespace tern {

// Which outputs make the vector: the last token's, which has seen all others; the mean of all; the first's.
enum class Pooling : uint8_t { kLast, kMean, kFirst };

// What the model's file says (`<architecture>.pooling_type`); none if it says nothing, as models that write text do. Errors: a kind that
// Tern does not know.
Result<std::optional<Pooling>> pooling_of(const Model& model);

class Embedder {
 public:
  // Takes the session's memory for itself: what it held is forgotten.
  Embedder(Session session, Pooling pooling, bool normalize);

  // The vector of a text of these tokens (ids within the vocabulary), of length 1 if it is normalised; valid until the next
  // call. Errors: no tokens, or more than the session's context takes.
  Result<std::span<const float>> embed(std::span<const TokenId> tokens);

 private:
  void add(std::span<const float> states);

  Session session_;
  Pooling pooling_;
  bool normalize_;
  std::vector<float> vector_;
  std::vector<double> sum_;
};

}  // namespace tern
