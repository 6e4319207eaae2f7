#pragma once
// The likelihood of continuations, with what two requests share computed once.

#include <optional>
#include <vector>

#include "engine/session/session.h"
#include "tools/eval_items.h"

namespace tern::cli {

struct EvalScore {
  double log_likelihood = 0;
  bool greedy = true;  // each token of the continuation is the likeliest one
};

class EvalScorer {
 public:
  // Texts that are longer than the session's context lose their beginning, as in lm-evaluation-harness.
  explicit EvalScorer(Session& session) : session_(session) {}

  // None if `keep_going` said no. Errors: a text without tokens.
  Result<std::optional<EvalScore>> score(const EvalRequest& request, Session::KeepGoing keep_going);

 private:
  Session& session_;
  std::vector<TokenId> held_;  // what the session holds
};

// A request as tokens; those from `context` on are the continuation's.
struct EvalTokens {
  std::vector<TokenId> all;
  size_t context = 0;
};

// As lm-evaluation-harness splits them: spaces at the end of the context go to the continuation; the continuation is what the tokens
// of both together have after as many as the context alone has. An empty context is BOS, or EOS where there is none.
EvalTokens eval_tokens(const Tokenizer& tokenizer, const EvalRequest& request);

}  // namespace tern::cli
