#pragma once
// Proposes what a smaller model with the same vocabulary writes.

#include <memory>
#include <vector>

#include "engine/session/proposer.h"
#include "engine/session/session.h"

namespace tern {

class DraftModel final : public Proposer {
 public:
  // `draft`: a session on the small model. Errors: its vocabulary differs from the target's, at which token.
  static Result<std::unique_ptr<Proposer>> create(Session draft, const Model& target);

  bool begin(std::span<const TokenId> text, KeepGoing keep_going) override;
  int look(std::span<const TokenId> text) override;
  size_t propose(std::span<const TokenId> text, std::span<TokenId> out) override;
  bool costs_time() const override { return true; }

 private:
  explicit DraftModel(Session session);
  std::span<const float> read(std::span<const TokenId> text, KeepGoing keep_going);

  Session session_;
  std::vector<TokenId> held_;  // the tokens in the session
};

}  // namespace tern
