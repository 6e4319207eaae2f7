#pragma once
// Completes requests with a model on this machine.

#include <memory>
#include <string>
#include <vector>

#include "engine/api/completer.h"
#include "engine/run/sampler.h"
#include "engine/session/session.h"
#include "engine/session/speculation.h"

namespace tern {

class Answer;

class LocalCompleter final : public Completer {
 public:
  // Speculation changes no token of any text, only how fast it comes.
  explicit LocalCompleter(Session session, Speculation speculation = {});

  // Besides text the sink gets empty pieces while a prompt is read, so that it can cancel then too.
  // What the request shares with the one before it at its beginning is not computed again.
  Result<Completion> complete(const Request& request, const Sink& sink) override;

  // What complete() reads before it writes: the prompt, or the messages as the chat template puts them, with the tokens that begin a
  // text. A last message of the assistant is continued. The token that begins a text comes once, also where the prompt or a
  // user's message spells it again at its beginning.
  Result<std::vector<TokenId>> prompt_tokens(const Request& request) const;
  // Whether the prompt, or the last message, spells that token again, so that it is left out there.
  bool repeats_bos(const Request& request) const;

  const Session& session() const { return session_; }

 private:
  Result<void> check_size(size_t bytes) const;
  void note_control_tokens(const Message& message, std::vector<std::string>& notes) const;
  std::span<const float> read_prompt(const std::vector<TokenId>& prompt, const Sink& sink);
  void generate(Answer& answer, std::span<const float> logits, const Sink& sink);

  Session session_;
  Speculation speculation_;
  std::vector<TokenId> text_;   // prompt and answer; the session holds its first length() tokens
  std::vector<TokenId> batch_;  // tokens of one pass
};

// Text on its way to the sink: holds back what may yet become part of a stop string.
class StopFilter {
 public:
  explicit StopFilter(const std::vector<std::string>& stops) : stops_(stops) {}

  // What can be shown now. Once stopped() nothing more comes out.
  std::string push(std::string_view text);
  // What was held back, when no more text comes.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  size_t held_length() const;

  const std::vector<std::string>& stops_;
  std::string pending_;
  bool stopped_ = false;
};

}  // namespace tern
