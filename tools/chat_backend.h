#pragma once
// Who answers in a conversation: the model of this machine, or a route over it and others.

#include <memory>
#include <optional>
#include <string>

#include "engine/api/completer.h"
#include "remote/api_outcome.h"
#include "tools/talk_options.h"

namespace tern::cli {

class ChatBackend {
 public:
  virtual ~ChatBackend() = default;
  virtual ApiOutcome complete(const Request& request, const Completer::Sink& sink) = 0;
  // What is to be said of an answer when it is over.
  virtual void summarize(const ApiOutcome& outcome, bool verbose) = 0;
  // Tokens of the messages in this model's template; nothing where that is not known before somebody is asked.
  virtual std::optional<Result<size_t>> count(const std::vector<Message>& messages) = 0;
  virtual size_t context() const = 0;  // 0: not known
  // What is said of a message before it is answered.
  virtual void note(const Request& request) = 0;
  // Names who answers, with its context and its template; lines without an end.
  virtual std::string describe() const = 0;
  virtual std::string template_text() const = 0;
};

// Loads the model, or makes the route ready.
Result<std::unique_ptr<ChatBackend>> open_chat_backend(const TalkOptions& options);

}  // namespace tern::cli
