#include "engine/session/local_completer.h"
#include "engine/base/clock.h"
#include "engine/model/text_start.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tern {
namespace {

bool contains(const std::vector<TokenId>& tokens, TokenId token) {
  return std::find(tokens.begin(), tokens.end(), token) != tokens.end();
}

}  // namespace

std::string StopFilter::push(std::string_view text) {
  if (stopped_) {
    return {};
  }
  pending_ += text;
  size_t stop_at = std::string::npos;
  for (const std::string& stop : stops_) {
    if (!stop.empty()) {
      stop_at = std::min(stop_at, pending_.find(stop));
    }
  }
  stopped_ = stop_at != std::string::npos;
  const size_t shown = stopped_ ? stop_at : pending_.size() - held_length();
  std::string out = pending_.substr(0, shown);
  pending_.erase(0, stopped_ ? pending_.size() : shown);
  return out;
}

std::string StopFilter::finish() {
  std::string rest;
  rest.swap(pending_);
  return rest;
}

// Length of the longest end of the pending text that a stop string begins with.
size_t StopFilter::held_length() const {
  size_t held = 0;
  for (const std::string& stop : stops_) {
    for (size_t length = std::min(stop.size(), pending_.size()); length > held; --length) {
      if (pending_.ends_with(std::string_view(stop).substr(0, length))) {
        held = length;
      }
    }
  }
  return held;
}

// The text that grows on a prompt: chooses each token, shows it, and knows when the text is over.
class Answer {
 public:
  Answer(const Request& request, const Model& model, Sampler& sampler, const Completer::Sink& sink,
         Completion& completion)
      : request_(request),
        model_(model),
        sampler_(sampler),
        sink_(sink),
        completion_(completion),
        filter_(request.stop) {
    completion.reason = StopReason::kLength;
  }

  // The logits that next() will look at while the text goes on with these tokens at most.
  LogitsWanted wanted(std::span<const TokenId> tokens) { return sampler_.wanted(tokens); }

  // The next token. `room`: how many more tokens the context holds.
  TokenId next(std::span<const float> logits, int32_t room) {
    const TokenId token = sampler_.sample(logits);
    sampler_.accept(token);
    Usage& usage = completion_.usage;
    ++usage.completion_tokens;
    if (usage.completion_tokens == 1) {
      usage.first_token_seconds = usage.prompt_seconds + watch_.seconds();
    }
    if (!request_.ignore_eos && contains(model_.stop_tokens(), token)) {
      end(StopReason::kEndOfText);
      return token;
    }
    const bool wanted = deliver(filter_.push(decoder_.push(model_.tokenizer().bytes_of(token))));
    if (filter_.stopped()) {
      end(StopReason::kStopString);
    } else if (!wanted) {
      end(StopReason::kCancelled);
    } else if (tokens_left() == 0) {
      end(StopReason::kLength);
    } else if (room == 0) {
      end(StopReason::kContextFull);
    }
    return token;
  }

  void end(StopReason reason) {
    completion_.reason = reason;
    over_ = true;
  }
  bool over() const { return over_; }
  // Tokens that the request still allows.
  int32_t tokens_left() const {
    return request_.max_tokens < 0 ? std::numeric_limits<int32_t>::max()
                                   : request_.max_tokens - completion_.usage.completion_tokens;
  }

  // Shows what was held back.
  void finish() {
    if (!filter_.stopped()) {
      // Two statements: the operands of one sum may be computed in either order.
      std::string rest = filter_.push(decoder_.finish());
      rest += filter_.finish();
      deliver(rest);
    }
    completion_.usage.generation_seconds = watch_.seconds();
  }

 private:
  bool deliver(const std::string& text) {
    completion_.text += text;
    return sink_(text);
  }

  const Request& request_;
  const Model& model_;
  Sampler& sampler_;
  const Completer::Sink& sink_;
  Completion& completion_;
  StreamDecoder decoder_;
  StopFilter filter_;
  Stopwatch watch_;
  bool over_ = false;
};

LocalCompleter::LocalCompleter(Session session, Speculation speculation)
    : session_(std::move(session)), speculation_(std::move(speculation)) {
  // One token more than the context: the last one of a full context is not read any more.
  text_.reserve(static_cast<size_t>(session_.context()) + 1);
  batch_.reserve(kMostGuesses + 1);
}

bool LocalCompleter::repeats_bos(const Request& request) const {
  const std::string_view bos = text_start(session_.model().tokenizer());
  if (bos.empty()) {
    return false;
  }
  if (request.messages.empty()) {
    return request.prompt.starts_with(bos);
  }
  const Message& last = request.messages.back();
  return request.parse_special_in_messages && last.role == "user" && last.content.starts_with(bos);
}

Result<std::vector<TokenId>> LocalCompleter::prompt_tokens(const Request& request) const {
  const Model& model = session_.model();
  const Tokenizer& tokenizer = model.tokenizer();
  const std::string_view own = text_start(tokenizer);
  if (request.messages.empty()) {
    RETURN_IF_ERROR(check_size(request.prompt.size()));
    std::vector<TokenId> tokens = tokenizer.encode(without_start(request.prompt, own));
    if (tokens.empty() && tokenizer.eos() >= 0) {
      tokens.push_back(tokenizer.eos());  // an empty prompt begins a new document
    }
    if (tokens.empty()) {
      return Error{
          "The prompt is empty and the model has no token that begins a text: give a prompt."};
    }
    return tokens;
  }
  std::vector<Message> messages = request.messages;
  std::string begun;  // of the assistant's last message, which goes on
  if (messages.size() > 1 && messages.back().role == "assistant") {
    begun = std::move(messages.back().content);
    messages.pop_back();
  }
  for (Message& message : messages) {
    if (request.parse_special_in_messages && message.role == "user") {
      message.content = without_start(message.content, own);
    }
  }
  ASSIGN_OR_RETURN(MarkedText text, model.chat_template().render_marked(messages, true));
  text.append(begun, true);
  RETURN_IF_ERROR(check_size(text.size()));
  if (request.parse_special_in_messages) {
    text.untrusted.clear();
  }
  // A template that writes BOS itself must not get a second one.
  const TokenId bos = tokenizer.bos();
  const bool has_bos =
      bos >= 0 && text.bytes.starts_with(tokenizer.spelling(bos)) && !text.is_untrusted(0);
  return tokenizer.encode(text.bytes, EncodeOptions{.add_special = !has_bos,
                                                    .parse_special = true,
                                                    .untrusted = std::move(text.untrusted)});
}

// Of the last message: those before it had their notes in their turn.
void LocalCompleter::note_control_tokens(const Message& message,
                                         std::vector<std::string>& notes) const {
  std::string names;
  for (const std::string& name : session_.model().tokenizer().control_tokens_in(message.content)) {
    names += (names.empty() ? "" : ", ") + printable(name);
  }
  if (!names.empty()) {
    notes.push_back("the message spells control tokens, which are read as text: " + names +
                    " (--parse-special-in-prompt reads them as tokens)");
  }
}

// A text that cannot fit whatever its tokens are is not turned into tokens first: that may take
// gigabytes. Folding to NFC may make a text three times shorter, no more (Unicode's report 15).
Result<void> LocalCompleter::check_size(size_t bytes) const {
  const size_t longest = std::max<size_t>(session_.model().tokenizer().longest(), 4);
  const size_t least = bytes / (3 * longest);
  if (least <= static_cast<size_t>(session_.context())) {
    return {};
  }
  return Error{"The prompt has more than " + std::to_string(least) +
               " tokens, the context has room for " + std::to_string(session_.context()) +
               " (prompt and answer together). Shorten it or raise --ctx-size."};
}

// Reads the part of the prompt that the session does not hold yet. Empty if the sink cancelled.
std::span<const float> LocalCompleter::read_prompt(const std::vector<TokenId>& prompt,
                                                   const Sink& sink) {
  const auto held_end = text_.begin() + session_.length();
  const auto common = static_cast<size_t>(
      std::mismatch(text_.begin(), held_end, prompt.begin(), prompt.end()).second - prompt.begin());
  // At least one token is computed: its logits are what generation starts from.
  const size_t kept = std::min(common, prompt.size() - 1);
  session_.rewind(static_cast<int32_t>(kept));
  text_ = prompt;
  if (!speculation_.begin(text_, [&] { return sink(""); })) {
    return {};
  }
  return session_.append(std::span(prompt).subspan(kept), [&] { return sink(""); });
}

// Writes until something ends the text. Each pass reads the last token and the guesses at what follows it, and goes on for as
// long as the guesses are what is chosen: with no guess it is plain decoding.
void LocalCompleter::generate(Answer& answer, std::span<const float> logits, const Sink& sink) {
  const auto add_next = [&](std::span<const float> next_logits) {
    const auto room = session_.context() - static_cast<int32_t>(text_.size());
    text_.push_back(answer.next(next_logits, room));
  };
  add_next(logits);
  while (!answer.over()) {
    const size_t before = text_.size();
    const int32_t limit = std::min(session_.room(), answer.tokens_left()) - 1;
    const std::span<const TokenId> guesses = speculation_.propose(text_, limit);
    batch_.assign(1, text_.back());
    batch_.insert(batch_.end(), guesses.begin(), guesses.end());
    double choosing = 0;
    const auto take = [&](std::span<const float> next_logits) {
      const Stopwatch watch;
      add_next(next_logits);
      choosing += watch.seconds();
      const size_t taken = text_.size() - before;
      return !answer.over() && taken <= guesses.size() && text_.back() == guesses[taken - 1];
    };
    const Stopwatch watch;
    if (!session_.append_each(
            batch_, take, [&] { return sink(""); }, answer.wanted(batch_))) {
      answer.end(StopReason::kCancelled);
      break;
    }
    // What follows a wrong guess is forgotten; so is the last token, which plain decoding has not read either.
    session_.rewind(static_cast<int32_t>(text_.size()) - 1);
    speculation_.learn(std::span(text_).subspan(before), watch.seconds() - choosing);
  }
}

namespace {

Result<void> check_bias(const SamplingParams& sampling, int32_t vocab) {
  for (const auto& [token, bias] : sampling.logit_bias) {
    if (token < 0 || token >= vocab || !std::isfinite(bias)) {
      return Error{"The logit bias of token " + std::to_string(token) +
                   ": expected a finite number for a token from 0 to " + std::to_string(vocab - 1) +
                   (std::isfinite(bias) ? ", the vocabulary of this model." : ".")};
    }
  }
  return {};
}

}  // namespace

Result<Completion> LocalCompleter::complete(const Request& request, const Sink& sink) {
  const Stopwatch watch;
  ASSIGN_OR_RETURN(const std::vector<TokenId> prompt, prompt_tokens(request));
  // A prompt that fills the context can still be read, and the token after it needs no place.
  if (prompt.size() > static_cast<size_t>(session_.context())) {
    return Error{"The prompt has " + std::to_string(prompt.size()) +
                 " tokens, the context has room for " + std::to_string(session_.context()) +
                 " (prompt and answer together). Shorten it or raise --ctx-size."};
  }
  RETURN_IF_ERROR(check_bias(request.sampling, session_.model().config().vocab));
  Completion completion;
  if (!request.messages.empty() && !request.parse_special_in_messages) {
    note_control_tokens(request.messages.back(), completion.notes);
  }
  Sampler sampler(request.sampling, session_.model().config().vocab);
  for (const TokenId token : prompt) {
    sampler.accept(token);
  }
  const std::span<const float> logits = read_prompt(prompt, sink);
  completion.usage.prompt_tokens = static_cast<int32_t>(prompt.size());
  completion.usage.prompt_seconds = watch.seconds();
  if (logits.empty()) {
    completion.reason = StopReason::kCancelled;
    return completion;
  }
  Answer answer(request, session_.model(), sampler, sink, completion);
  if (request.max_tokens != 0) {
    generate(answer, logits, sink);
  }
  answer.finish();
  const Speculation::Summary speculation = speculation_.summary();
  completion.usage.proposed_tokens = speculation.proposed;
  completion.usage.accepted_tokens = speculation.accepted;
  completion.usage.speculation_gain = speculation.gain;
  return completion;
}

}  // namespace tern
