#pragma once
// The body of an answer with status 200, from its bytes as they come to text in the caller's hands.
//
// What the body is, is seen from the body: some servers send events to who asked for plain JSON, and the reverse.

#include <optional>
#include <string>
#include <string_view>

#include "engine/api/completer.h"
#include "remote/chat_answer.h"
#include "remote/sse.h"

namespace tern {

class AnswerReader {
 public:
  // What a whole answer may take, as JSON and as kept text: fifty times what the longest context of any model holds.
  static constexpr size_t kMostAnswerBytes = size_t{256} << 20;

  enum class End {
    kNone,      // more is wanted
    kComplete,  // a finish marker came, or a whole JSON value
    kStopped,   // a sink said stop
    kRefused,   // an error of the server within the answer: error()
    kNonsense,  // what came is no answer, or is damaged: words()
    kCut,       // the body ended before the answer did: words()
  };

  // `text` and `reasoning` get the pieces; either may be empty.
  AnswerReader(Completer::Sink text, Completer::Sink reasoning,
               size_t most_bytes = kMostAnswerBytes);

  // False: nothing that may still come is of interest.
  bool feed(std::string_view bytes);
  // The body has ended, or broke off.
  End finish();

  // Whether all that counts has come, so that the body's own end need not be waited for.
  bool has_enough() const { return done_ || end_ != End::kNone; }
  // Whether a finish marker has come.
  bool finished() const { return answer_.finished() || done_; }
  bool delivered() const { return delivered_; }
  bool empty() const { return kind_ == Kind::kUnknown; }
  const ServerError& error() const { return error_; }
  const std::string& words() const { return words_; }
  const ChatAnswer& answer() const { return answer_; }

 private:
  enum class Kind { kUnknown, kJson, kEvents, kPage };

  bool recognise(std::string_view bytes);
  bool take_event(const SseEvent& event);
  bool take(const nlohmann::json& value);
  bool give(const Completer::Sink& sink, const std::string& piece);
  bool end(End end, std::string words = "");
  End finish_json();

  Completer::Sink text_;
  Completer::Sink reasoning_;
  size_t most_bytes_;
  Kind kind_ = Kind::kUnknown;
  SseParser events_;
  std::string body_;  // of JSON and pages; before the kind is known, what came so far
  ChatAnswer answer_;
  ServerError error_;
  std::string words_;
  End end_ = End::kNone;
  bool done_ = false;  // [DONE]
  bool delivered_ = false;
};

}  // namespace tern
