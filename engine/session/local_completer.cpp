#include "engine/session/local_completer.h"

#include <algorithm>
#include <chrono>

namespace tern {
namespace {

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

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

Result<std::vector<TokenId>> LocalCompleter::prompt_tokens(const Request& request) const {
  const Model& model = session_.model();
  const Tokenizer& tokenizer = model.tokenizer();
  if (request.messages.empty()) {
    std::vector<TokenId> tokens = tokenizer.encode(request.prompt);
    if (tokens.empty() && tokenizer.eos() >= 0) {
      tokens.push_back(tokenizer.eos());  // an empty prompt begins a new document
    }
    if (tokens.empty()) {
      return Error{
          "The prompt is empty and the model has no token that begins a text: give a prompt."};
    }
    return tokens;
  }
  ASSIGN_OR_RETURN(const std::string text, model.chat_template().render(request.messages, true));
  // A template that writes BOS itself must not get a second one.
  const TokenId bos = tokenizer.bos();
  const bool has_bos = bos >= 0 && text.starts_with(tokenizer.spelling(bos));
  return tokenizer.encode(text, EncodeOptions{.add_special = !has_bos, .parse_special = true});
}

// Reads the part of the prompt that the session does not hold yet. Empty if the sink cancelled.
std::span<const float> LocalCompleter::read_prompt(const std::vector<TokenId>& prompt,
                                                   const Sink& sink) {
  const auto common = static_cast<size_t>(
      std::mismatch(history_.begin(), history_.end(), prompt.begin(), prompt.end()).second -
      prompt.begin());
  // At least one token is computed: its logits are what generation starts from.
  const size_t kept = std::min(common, prompt.size() - 1);
  session_.rewind(static_cast<int32_t>(kept));
  history_.resize(kept);
  const std::span<const TokenId> rest = std::span(prompt).subspan(kept);
  const std::span<const float> logits = session_.append(rest, [&] { return sink(""); });
  if (!logits.empty()) {
    history_ = prompt;
  }
  return logits;
}

// Samples until something ends the text; fills in its reason and the number of tokens.
void LocalCompleter::generate(const Request& request, std::span<const float> logits,
                              Sampler& sampler, const Sink& sink, Completion& completion) {
  const Model& model = session_.model();
  Usage& usage = completion.usage;
  StreamDecoder decoder;
  StopFilter filter(request.stop);
  const auto deliver = [&](const std::string& text) {
    completion.text += text;
    return sink(text);
  };
  const Stopwatch watch;
  completion.reason = StopReason::kLength;
  while (usage.completion_tokens != request.max_tokens) {
    const TokenId token = sampler.sample(logits);
    sampler.accept(token);
    ++usage.completion_tokens;
    if (usage.completion_tokens == 1) {
      usage.first_token_seconds = usage.prompt_seconds + watch.seconds();
    }
    if (!request.ignore_eos && contains(model.stop_tokens(), token)) {
      completion.reason = StopReason::kEndOfText;
      break;
    }
    const bool wanted = deliver(filter.push(decoder.push(model.tokenizer().bytes_of(token))));
    if (filter.stopped()) {
      completion.reason = StopReason::kStopString;
      break;
    }
    if (!wanted) {
      completion.reason = StopReason::kCancelled;
      break;
    }
    if (usage.completion_tokens == request.max_tokens) {
      break;
    }
    if (session_.room() == 0) {
      completion.reason = StopReason::kContextFull;
      break;
    }
    logits = session_.append({&token, 1}, [&] { return sink(""); });
    if (logits.empty()) {
      completion.reason = StopReason::kCancelled;
      break;
    }
    history_.push_back(token);
  }
  if (!filter.stopped()) {
    deliver(filter.push(decoder.finish()) + filter.finish());
  }
  usage.generation_seconds = watch.seconds();
}

Result<Completion> LocalCompleter::complete(const Request& request, const Sink& sink) {
  const Stopwatch watch;
  ASSIGN_OR_RETURN(const std::vector<TokenId> prompt, prompt_tokens(request));
  if (prompt.size() >= static_cast<size_t>(session_.context())) {
    return Error{"The prompt has " + std::to_string(prompt.size()) +
                 " tokens, the context has room for " + std::to_string(session_.context()) +
                 " (prompt and answer together). Shorten it or raise --ctx-size."};
  }
  Completion completion;
  Sampler sampler(request.sampling, session_.model().config().vocab);
  for (const TokenId token : prompt) {
    sampler.accept(token);
  }
  const std::span<const float> logits = read_prompt(prompt, sink);
  completion.usage.prompt_tokens = static_cast<int32_t>(prompt.size());
  completion.usage.prompt_seconds = watch.seconds();
  if (logits.empty()) {
    completion.reason = StopReason::kCancelled;
  } else {
    generate(request, logits, sampler, sink, completion);
  }
  return completion;
}

}  // namespace tern
