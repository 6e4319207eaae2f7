#include "tools/eval_score.h"

#include <algorithm>

#include "tools/likelihood.h"

namespace tern::cli {

EvalTokens eval_tokens(const Tokenizer& tokenizer, const EvalRequest& request) {
  EvalTokens out;
  if (request.context.empty()) {
    const TokenId begin = tokenizer.bos() >= 0 ? tokenizer.bos() : tokenizer.eos();
    out.all = tokenizer.encode(request.continuation,
                               EncodeOptions{.add_special = false, .parse_special = true});
    if (begin >= 0 && (out.all.empty() || out.all.front() != begin)) {
      out.all.insert(out.all.begin(), begin);
    }
    out.context = std::min<size_t>(1, out.all.size());
    return out;
  }
  constexpr std::string_view kSpace = " \t\n\r\v\f";
  const size_t end =
      request.context.find_last_not_of(kSpace) + 1;  // npos + 1 = 0: nothing but spaces
  const EncodeOptions options{.add_special = true, .parse_special = true};
  out.all = tokenizer.encode(request.context + request.continuation, options);
  const std::vector<TokenId> context = tokenizer.encode(request.context.substr(0, end), options);
  out.context = std::min(context.size(), out.all.size());
  // Where the two part ways, the harness takes the context's own tokens.
  std::copy_n(context.begin(), out.context, out.all.begin());
  return out;
}

Result<std::optional<EvalScore>> EvalScorer::score(const EvalRequest& request,
                                                   Session::KeepGoing keep_going) {
  EvalTokens tokens = eval_tokens(session_.model().tokenizer(), request);
  // All tokens but the last are read.
  const size_t most = static_cast<size_t>(session_.context()) + 1;
  if (tokens.all.size() > most) {
    const size_t cut = tokens.all.size() - most;
    tokens.all.erase(tokens.all.begin(), tokens.all.begin() + static_cast<std::ptrdiff_t>(cut));
    tokens.context = tokens.context > cut ? tokens.context - cut : 0;
  }
  tokens.context = std::max<size_t>(tokens.context, 1);
  if (tokens.all.empty()) {
    return Error{"expected a text that has tokens, found \"" + request.continuation + "\"."};
  }
  EvalScore score;
  if (tokens.all.size() == tokens.context) {
    return std::optional(score);  // an empty continuation is certain
  }
  const std::span<const TokenId> read(tokens.all.data(), tokens.all.size() - 1);
  held_.resize(static_cast<size_t>(session_.length()));
  const auto parting = std::mismatch(held_.begin(), held_.end(), read.begin(), read.end());
  // The last token of the context is read again: its logits are needed.
  const size_t keep =
      std::min(static_cast<size_t>(parting.first - held_.begin()), tokens.context - 1);
  session_.rewind(static_cast<int32_t>(keep));
  held_.assign(read.begin(), read.end());
  const auto before = read.subspan(keep, tokens.context - 1 - keep);
  if (!before.empty() && session_.append(before, keep_going, LogitsWanted{1, {}}).empty()) {
    return std::optional<EvalScore>();
  }
  size_t next = tokens.context;
  const bool finished = session_.append_each(
      read.subspan(tokens.context - 1),
      [&](std::span<const float> logits) {
        score.log_likelihood -= loss_of(logits, tokens.all[next]);
        score.greedy = score.greedy && likeliest(logits) == tokens.all[next];
        ++next;
        return true;
      },
      keep_going);
  return finished ? std::optional(score) : std::nullopt;
}

}  // namespace tern::cli
