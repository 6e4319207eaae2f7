#include "remote/chat_answer.h"

#include <algorithm>
#include <limits>

#include "engine/base/json_text.h"
#include "remote/dialect_openai.h"
#include "remote/json_fields.h"
#include "remote/plain_line.h"

namespace tern {
namespace {

using Json = nlohmann::json;

// A text, or a list of parts that have texts.
std::string text_of(const Json& content) {
  if (content.is_string()) {
    return content.get<std::string>();
  }
  std::string text;
  if (content.is_array()) {
    for (const Json& part : content) {
      text += text_at(part, "text");
      text += text_at(part, "refusal");
    }
  }
  return text;
}

// Arguments of a call: a string that spells JSON, or, of some servers, the JSON itself.
std::string arguments_of(const Json& value) {
  if (value.is_string()) {
    return value.get<std::string>();
  }
  return value.is_null() ? "" : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

ServerError failed(const std::string& words) {
  ServerError error;
  error.message = words;
  return error;
}

std::string part_of(const Json& event) {
  return std::to_string(count_at(event, "output_index").value_or(0)) + "/" +
         std::to_string(count_at(event, "content_index").value_or(0));
}

}  // namespace

ChatAnswer::News ChatAnswer::take(const Json& value) {
  News news;
  if ((news.error = error_within(value))) {
    return news;
  }
  if (!take_response_event(value, news)) {
    take_chunk(value, news);
  }
  completion_.text += news.text;
  completion_.reasoning += news.reasoning;
  size_ += news.text.size() + news.reasoning.size();
  return news;
}

void ChatAnswer::take_names(const Json& value) {
  constexpr size_t kMostBytes = 128;
  if (model_.empty()) {
    model_ = plain_line(text_at(value, "model"), kMostBytes);
  }
  if (id_.empty()) {
    id_ = plain_line(text_at(value, "id"), kMostBytes);
  }
}

// A chunk of a chat completion, or a whole one.
void ChatAnswer::take_chunk(const Json& value, News& news) {
  take_names(value);
  const Json& choices = member(value, "choices");
  recognised_ = recognised_ || choices.is_array();
  if (choices.is_array()) {
    for (const Json& choice : choices) {
      if (count_at(choice, "index").value_or(0) == 0) {
        take_choice(choice, news);
      }
    }
  }
  take_usage(member(value, "usage"));
}

void ChatAnswer::take_choice(const Json& choice, News& news) {
  if (auto error = error_within(choice)) {
    news.error = std::move(error);
    return;
  }
  const Json& delta = member(choice, "delta");
  const Json& message = member(choice, "message");
  if (delta.is_object()) {
    deltas_came_ = true;
    take_message(delta, news);
  } else if (message.is_object() && !deltas_came_) {  // after pieces it says again what they said
    take_message(message, news);
  }
  const Json& text = member(choice, "text");  // of the older endpoint without messages
  if (text.is_string()) {
    news.text += text.get<std::string>();
  }
  take_reason(text_at(choice, "finish_reason"), news);
}

void ChatAnswer::take_message(const Json& message, News& news) {
  news.text += text_of(member(message, "content"));
  const std::string refusal = text_at(message, "refusal");
  news.text += refusal;
  refused_ = refused_ || !refusal.empty();
  const std::string reasoning = text_of(member(message, "reasoning_content"));
  news.reasoning += reasoning.empty() ? text_of(member(message, "reasoning")) : reasoning;
  take_calls(member(message, "tool_calls"));
  const Json& older = member(message, "function_call");
  if (older.is_object()) {
    take_call(0, {{"function", older}});
  }
}

void ChatAnswer::take_calls(const Json& calls) {
  if (!calls.is_array()) {
    return;
  }
  for (size_t i = 0; i < calls.size(); ++i) {
    const Json& call = calls[i];
    const auto index = count_at(call, "index");
    if (index) {
      take_call(*index, call);
      continue;
    }
    // Without an index a call with an id, or a name, is a new one, and pieces go to the last.
    const bool begins = !text_at(call, "id").empty() ||
                        !text_at(member(call, "function"), "name").empty() || calls_.empty();
    const int32_t last = calls_.empty() ? -1 : calls_.rbegin()->first;
    if (last < std::numeric_limits<int32_t>::max()) {
      take_call(begins ? last + 1 : last, call);
    }
  }
}

void ChatAnswer::take_call(int32_t index, const Json& call) {
  ToolCall& known = calls_[index];
  const Json& function = member(call, "function");
  // Some servers repeat id and name with every piece.
  if (known.id.empty()) {
    known.id = text_at(call, "id");
  }
  if (known.name.empty()) {
    known.name = text_at(function, "name");
  }
  const std::string arguments = arguments_of(member(function, "arguments"));
  known.arguments += arguments;
  size_ += arguments.size() + sizeof(ToolCall);
}

void ChatAnswer::take_reason(const std::string& reason, News& news) {
  if (reason.empty()) {
    return;
  }
  if (reason == "error" || reason == "abort" || reason == "insufficient_system_resource") {
    news.error = failed("the server ended the answer with \"" + reason + "\"");
    return;
  }
  finished_ = true;
  if (reason == "length" || reason == "max_tokens") {
    completion_.reason = StopReason::kLength;
  } else if (reason == "tool_calls" || reason == "function_call") {
    completion_.reason = StopReason::kToolCalls;
  } else if (reason == "content_filter") {
    completion_.reason = StopReason::kContentFilter;
  } else {
    completion_.reason = StopReason::kEndOfText;  // "stop", and the names that others give it
  }
}

// Servers name the same counts differently:
//   OpenAI, vLLM, OpenRouter  prompt_tokens, of which prompt_tokens_details.cached_tokens; completion_tokens
//   the Responses API         input_tokens, of which input_tokens_details.cached_tokens; output_tokens
//   DeepSeek                  prompt_tokens, of which prompt_cache_hit_tokens
//   Moonshot                  prompt_tokens, of which cached_tokens
//   Anthropic                 input_tokens, and beside them cache_read_input_tokens and cache_creation_input_tokens;
//                             LiteLLM repeats these beside prompt_tokens, which there hold them
// Gemini and xAI leave the tokens of reasoning out of completion_tokens, but not out of total_tokens, and charge for them.
// A count of zero is none: servers that count nothing send zeros.
void ChatAnswer::take_usage(const Json& usage) {
  const auto count = [&](const Json& where, const char* name) {
    return std::max(count_at(where, name).value_or(0), 0);
  };
  const int32_t held_in_prompt = std::max({
      count(member(usage, "prompt_tokens_details"), "cached_tokens"),
      count(member(usage, "input_tokens_details"), "cached_tokens"),
      count(usage, "prompt_cache_hit_tokens"),
      count(usage, "cached_tokens"),
  });
  const int32_t beside_prompt = count(usage, "cache_read_input_tokens");
  int32_t prompt = count(usage, "prompt_tokens");
  if (prompt == 0) {
    const int64_t all = int64_t{count(usage, "input_tokens")} + beside_prompt +
                        count(usage, "cache_creation_input_tokens");
    prompt = static_cast<int32_t>(std::min<int64_t>(all, std::numeric_limits<int32_t>::max()));
  }
  int32_t answer = std::max(count(usage, "completion_tokens"), count(usage, "output_tokens"));
  if (prompt > 0 && answer > 0) {
    answer = std::max(answer, count(usage, "total_tokens") - prompt);
  }
  // The last one counts: some servers send the usage so far with each chunk.
  if (prompt > 0) {
    completion_.usage.prompt_tokens = prompt;
    cached_tokens_ = std::min(prompt, std::max(held_in_prompt, beside_prompt));
  }
  if (answer > 0) {
    completion_.usage.completion_tokens = answer;
  }
}

Completion ChatAnswer::so_far(size_t prompt_bytes) const {
  Completion completion = completion_;
  Usage& usage = completion.usage;
  const int32_t prompt = estimated_tokens(prompt_bytes);
  if (usage.prompt_tokens == 0 && prompt > 0) {
    usage.prompt_tokens = prompt;
    usage.estimated = true;
  }
  size_t bytes = completion.text.size() + completion.reasoning.size();
  for (const auto& [index, call] : calls_) {
    bytes += call.name.size() + call.arguments.size();
  }
  if (usage.completion_tokens == 0 && bytes > 0) {
    usage.completion_tokens = estimated_tokens(bytes);
    usage.estimated = true;
  }
  return completion;
}

Result<Completion> ChatAnswer::complete(size_t prompt_bytes) const {
  Completion done = so_far(prompt_bytes);
  for (const auto& [index, call] : calls_) {
    ToolCall finished = call;
    if (finished.arguments.empty()) {
      finished.arguments = "{}";  // a function without parameters
    }
    if (finished.name.empty() || parse_json(finished.arguments).is_discarded()) {
      return Error{
          "expected a name, and arguments in JSON, of each call that the model asks for; call " +
          std::to_string(index) + " (\"" + call.name.substr(0, 64) + "\") has others" +
          (done.reason == StopReason::kLength ? ", cut off by the limit of tokens" : "")};
    }
    done.tool_calls.push_back(std::move(finished));
  }
  if (!done.tool_calls.empty() && done.reason == StopReason::kEndOfText) {
    done.reason = StopReason::kToolCalls;  // some servers say "stop"
  }
  if (refused_ && done.reason == StopReason::kEndOfText) {
    done.reason = StopReason::kContentFilter;
  }
  return done;
}

bool ChatAnswer::take_response_event(const Json& event, News& news) {
  if (text_at(event, "object") == "response") {  // a whole one
    take_response(event, news);
    end_response(event, text_at(event, "status"), news);
    return true;
  }
  const std::string type = text_at(event, "type");
  if (!type.starts_with("response.")) {
    return false;
  }
  recognised_ = true;
  const std::string what = type.substr(9);
  const Json& response = member(event, "response");
  take_names(response);
  if (what == "output_text.delta" || what == "refusal.delta") {
    refused_ = refused_ || what == "refusal.delta";
    take_response_text(event, text_at(event, "delta"), /*whole=*/false, news);
  } else if (what == "output_text.done") {
    take_response_text(event, text_at(event, "text"), /*whole=*/true, news);
  } else if (what == "content_part.done") {
    const Json& part = member(event, "part");
    if (text_at(part, "type") != "reasoning_text") {
      take_response_text(event, text_at(part, "text"), /*whole=*/true, news);
    }
  } else if (what == "reasoning_text.delta" || what == "reasoning_summary_text.delta") {
    news.reasoning += text_at(event, "delta");
  } else if (what == "output_item.added" || what == "output_item.done") {
    take_response_item(count_at(event, "output_index").value_or(0), member(event, "item"));
  } else if (what == "function_call_arguments.delta") {
    const std::string piece = text_at(event, "delta");
    calls_[count_at(event, "output_index").value_or(0)].arguments += piece;
    size_ += piece.size() + sizeof(ToolCall);
  } else if (what == "completed" || what == "incomplete" || what == "failed") {
    take_response(response, news);
    end_response(response, what, news);
  }
  return true;
}

// A part's text comes in pieces, and then perhaps as a whole, once or twice: only the first way counts.
void ChatAnswer::take_response_text(const Json& event, const std::string& text, bool whole,
                                    News& news) {
  const bool is_new = response_parts_.insert(part_of(event)).second;
  if (is_new || !whole) {
    news.text += text;
  }
  size_ += sizeof(std::string);
}

void ChatAnswer::take_response_item(int32_t index, const Json& item) {
  if (text_at(item, "type") != "function_call") {
    return;
  }
  ToolCall& call = calls_[index];
  if (call.name.empty()) {
    call.id = text_at(item, "call_id");
    call.name = text_at(item, "name");
  }
  const std::string arguments = arguments_of(member(item, "arguments"));
  if (!arguments.empty()) {  // the whole, after its pieces
    call.arguments = arguments;
  }
  size_ += arguments.size() + sizeof(ToolCall);
}

// A response as it stands at its end. Its text counts if no event has brought any.
void ChatAnswer::take_response(const Json& response, News& news) {
  recognised_ = true;
  take_names(response);
  const Json& output = member(response, "output");
  for (size_t i = 0; output.is_array() && i < output.size(); ++i) {
    take_response_item(static_cast<int32_t>(i), output[i]);
    if (text_at(output[i], "type") == "message" && response_parts_.empty()) {
      news.text += text_of(member(output[i], "content"));
    }
  }
  take_usage(member(response, "usage"));
}

void ChatAnswer::end_response(const Json& response, const std::string& status, News& news) {
  if ((news.error = error_within(response))) {
    return;
  }
  if (status == "failed" || status == "cancelled") {
    news.error = failed("the server ended the answer with \"" + status + "\"");
    return;
  }
  const std::string why = text_at(member(response, "incomplete_details"), "reason");
  if (status == "incomplete") {
    take_reason(why == "content_filter" ? why : "length", news);
  } else {
    take_reason("stop", news);
  }
}

}  // namespace tern
