#include "engine/session/draft_model.h"

#include <algorithm>

namespace tern {
namespace {

// Evidence of middling strength: what a draft is worth shows only in use.
constexpr int kDraftKind = 3;

Result<void> require_same_vocabulary(const Model& draft, const Model& target) {
  const Tokenizer& ours = draft.tokenizer();
  const Tokenizer& theirs = target.tokenizer();
  const std::string where = draft.file().path().string() + ": expected the vocabulary of " +
                            target.file().path().string() + ", ";
  const std::string advice = " Use a draft model of the same family.";
  if (ours.size() != theirs.size() || draft.config().vocab != target.config().vocab) {
    return Error{where + std::to_string(theirs.size()) + " tokens, found " +
                 std::to_string(ours.size()) + "." + advice};
  }
  for (TokenId id = 0; id < theirs.size(); ++id) {
    if (ours.spelling(id) != theirs.spelling(id)) {
      return Error{where + "whose token " + std::to_string(id) + " is \"" +
                   std::string(theirs.spelling(id)) + "\", found \"" +
                   std::string(ours.spelling(id)) + "\"." + advice};
    }
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Proposer>> DraftModel::create(Session draft, const Model& target) {
  RETURN_IF_ERROR(require_same_vocabulary(draft.model(), target));
  return std::unique_ptr<Proposer>(new DraftModel(std::move(draft)));
}

DraftModel::DraftModel(Session session) : session_(std::move(session)) {
  held_.reserve(static_cast<size_t>(session_.context()));
}

// Brings the session up to `text` and returns the logits of its last token; empty if `keep_going` said no. What the session
// holds beyond what it shares with the text (guesses that were wrong, another conversation) is forgotten.
std::span<const float> DraftModel::read(std::span<const TokenId> text, KeepGoing keep_going) {
  const auto common = static_cast<size_t>(
      std::mismatch(held_.begin(), held_.end(), text.begin(), text.end()).first - held_.begin());
  const size_t kept = std::min(common, text.size() - 1);
  session_.rewind(static_cast<int32_t>(kept));
  held_.resize(kept);
  const std::span<const float> logits =
      session_.append(text.subspan(kept), keep_going, LogitsWanted{1, {}});
  if (!logits.empty()) {
    held_.assign(text.begin(), text.end());
  }
  return logits;
}

bool DraftModel::begin(std::span<const TokenId> text, KeepGoing keep_going) {
  const bool fits = text.size() <= static_cast<size_t>(session_.context());
  return !fits || !read(text, keep_going).empty();
}

int DraftModel::look(std::span<const TokenId> text) {
  return text.size() <= static_cast<size_t>(session_.context()) ? kDraftKind : kNoEvidence;
}

size_t DraftModel::propose(std::span<const TokenId> text, std::span<TokenId> out) {
  std::span<const float> logits = read(text, [] { return true; });
  size_t count = 0;
  while (count < out.size()) {
    out[count++] =
        static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    if (count == out.size() || session_.room() == 0) {
      break;
    }
    logits = session_.append(
        out.subspan(count - 1, 1), [] { return true; }, LogitsWanted{1, {}});
    held_.push_back(out[count - 1]);
  }
  return count;
}

}  // namespace tern
