#pragma once
// A completion, put together from the JSON values of an answer: chunks of a chat completion, a whole one, or events of the
// Responses API, which some servers send on the chat endpoint.

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <set>

#include "remote/api_error.h"

namespace tern {

class ChatAnswer {
 public:
  // What one value brought that is to be shown.
  struct News {
    std::string text;
    std::string reasoning;
    std::optional<ServerError> error;
  };

  News take(const nlohmann::json& value);

  // A reason for the end came: the text is all there is. Only a usage may still follow.
  bool finished() const { return finished_; }
  // Whether anything but an error was recognised.
  bool recognised() const { return recognised_; }

  const std::string& text() const { return completion_.text; }
  const std::string& reasoning() const { return completion_.reasoning; }
  const std::string& model() const { return model_; }
  const std::string& id() const { return id_; }
  // Tokens of the prompt that the server took from its cache.
  int32_t cached_tokens() const { return cached_tokens_; }
  StopReason reason() const { return completion_.reason; }
  // Bytes that are kept, at least.
  size_t size() const { return size_; }

  // Text, reasoning, reason and usage as far as they came. Tokens that the server has not counted are estimated, those of the prompt
  // from its length.
  Completion so_far(size_t prompt_bytes) const;
  // The whole, with its calls. Errors: a call has no name, or its arguments are no JSON.
  Result<Completion> complete(size_t prompt_bytes) const;

 private:
  void take_names(const nlohmann::json& value);
  void take_chunk(const nlohmann::json& value, News& news);
  void take_choice(const nlohmann::json& choice, News& news);
  void take_message(const nlohmann::json& message, News& news);
  void take_calls(const nlohmann::json& calls);
  void take_call(int32_t index, const nlohmann::json& call);
  void take_reason(const std::string& reason, News& news);
  void take_usage(const nlohmann::json& usage);
  bool take_response_event(const nlohmann::json& event, News& news);
  void take_response_text(const nlohmann::json& event, const std::string& text, bool whole,
                          News& news);
  void take_response_item(int32_t index, const nlohmann::json& item);
  void take_response(const nlohmann::json& response, News& news);
  void end_response(const nlohmann::json& response, const std::string& status, News& news);

  Completion completion_;
  std::map<int32_t, ToolCall> calls_;
  std::set<std::string> response_parts_;  // which parts of a response have given text
  std::string model_;
  std::string id_;
  size_t size_ = 0;
  int32_t cached_tokens_ = 0;
  bool deltas_came_ = false;
  bool refused_ = false;
  bool finished_ = false;
  bool recognised_ = false;
};

}  // namespace tern
