#include "tools/batch_line.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>
#include <utility>

#include "engine/base/json_text.h"

namespace tern::cli {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr const char* kChatUrl = "/v1/chat/completions";
constexpr const char* kTextUrl = "/v1/completions";
constexpr size_t kMostShown = 60;  // bytes of a wrong value in a message

std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > kMostShown) {
    text.resize(kMostShown);
    text += "...";
  }
  return text;
}

Error wrong(const std::string& member, const std::string& expected, const Json& found) {
  return Error{"body." + member + ": expected " + expected + ", found " + shown(found) + "."};
}

// The members of a body that were read; the rest goes to a provider as it is.
class Body {
 public:
  explicit Body(Json value) : rest_(std::move(value)) {}

  // Takes a member out; null and an absent member are the same.
  std::optional<Json> take(const char* name) {
    const auto found = rest_.find(name);
    if (found == rest_.end()) {
      return {};
    }
    Json value = std::move(*found);
    rest_.erase(found);
    return value.is_null() ? std::nullopt : std::optional(std::move(value));
  }

  Result<void> number(const char* name, double low, double high, float& target) {
    const std::optional<Json> value = take(name);
    if (!value) {
      return {};
    }
    const bool fits = value->is_number() && std::isfinite(value->get<double>()) &&
                      value->get<double>() >= low && value->get<double>() <= high;
    if (!fits) {
      char range[64];
      std::snprintf(range, sizeof range, "a number from %g to %g", low, high);
      return wrong(name, range, *value);
    }
    target = value->get<float>();
    return {};
  }

  // Without a value: nothing was given.
  Result<std::optional<int64_t>> whole(const char* name, int64_t low, int64_t high) {
    const std::optional<Json> value = take(name);
    if (!value) {
      return std::optional<int64_t>();
    }
    const bool fits =
        value->is_number_integer() &&
        !(value->is_number_unsigned() &&
          value->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) &&
        value->get<int64_t>() >= low && value->get<int64_t>() <= high;
    if (!fits) {
      return wrong(name,
                   "a whole number from " + std::to_string(low) + " to " + std::to_string(high),
                   *value);
    }
    return std::optional(value->get<int64_t>());
  }

  const Json& rest() const { return rest_; }

 private:
  Json rest_;
};

// The text of a message: a string, or OpenAI's list of parts where each is text.
Result<std::string> text_of(const Json& content, const std::string& where) {
  if (content.is_string()) {
    return content.get<std::string>();
  }
  if (!content.is_array()) {
    return wrong(where, "a string or a list of parts", content);
  }
  std::string text;
  for (const Json& part : content) {
    if (!part.is_object() || part.value("type", "") != "text" || !part.contains("text") ||
        !part["text"].is_string()) {
      return wrong(where, "parts of the form {\"type\": \"text\", \"text\": ...}", part);
    }
    text += part["text"].get<std::string>();
  }
  return text;
}

Result<Message> message_of(Json value, size_t index) {
  const std::string where = "messages[" + std::to_string(index) + "]";
  if (!value.is_object() || !value.contains("role") || !value["role"].is_string()) {
    return wrong(where, "an object with a role", value);
  }
  Message message;
  message.role = value["role"].get<std::string>();
  value.erase("role");
  const auto content = value.find("content");
  const bool may_be_empty = value.contains("tool_calls");
  if (content != value.end() && !content->is_null()) {
    ASSIGN_OR_RETURN(message.content, text_of(*content, where + ".content"));
    value.erase("content");
  } else if (!may_be_empty) {
    return Error{"body." + where + ".content: expected a text, found none."};
  } else {
    value["content"] = nullptr;  // as servers want it beside tool calls
  }
  if (!value.empty()) {
    message.extra = value.dump();
  }
  return message;
}

Result<void> read_prompt(Body& body, bool chat, Request& request) {
  const std::optional<Json> given = body.take(chat ? "messages" : "prompt");
  if (!chat) {
    if (!given || !given->is_string()) {
      return wrong("prompt", "a string", given.value_or(nullptr));
    }
    request.prompt = given->get<std::string>();
    return {};
  }
  if (!given || !given->is_array() || given->empty()) {
    return wrong("messages", "a list with at least one message", given.value_or(nullptr));
  }
  for (size_t i = 0; i < given->size(); ++i) {
    ASSIGN_OR_RETURN(Message message, message_of((*given)[i], i));
    request.messages.push_back(std::move(message));
  }
  return {};
}

Result<void> read_stops(Body& body, Request& request) {
  const std::optional<Json> stop = body.take("stop");
  if (!stop) {
    return {};
  }
  request.stop.clear();
  const Json list = stop->is_array() ? *stop : Json::array({*stop});
  for (const Json& text : list) {
    if (!text.is_string()) {
      return wrong("stop", "a string or a list of strings", *stop);
    }
    if (!text.get_ref<const std::string&>().empty()) {
      request.stop.push_back(text.get<std::string>());
    }
  }
  return {};
}

Result<void> read_bias(Body& body, Request& request) {
  const std::optional<Json> bias = body.take("logit_bias");
  if (!bias) {
    return {};
  }
  const auto malformed = [&] {
    return wrong("logit_bias", "an object of token ids and numbers from -100 to 100", *bias);
  };
  if (!bias->is_object()) {
    return malformed();
  }
  for (const auto& [token, value] : bias->items()) {
    int32_t id = 0;
    const char* end = token.data() + token.size();
    const auto [rest, error] = std::from_chars(token.data(), end, id);
    if (error != std::errc() || rest != end || id < 0 || !value.is_number() ||
        std::abs(value.get<double>()) > 100) {
      return malformed();
    }
    request.sampling.logit_bias.emplace_back(id, value.get<float>());
  }
  return {};
}

Result<void> read_sampling(Body& body, Request& request) {
  SamplingParams& sampling = request.sampling;
  RETURN_IF_ERROR(body.number("temperature", 0, 2, sampling.temperature));
  RETURN_IF_ERROR(body.number("top_p", 0, 1, sampling.top_p));
  RETURN_IF_ERROR(body.number("min_p", 0, 1, sampling.min_p));
  RETURN_IF_ERROR(body.number("presence_penalty", -2, 2, sampling.presence_penalty));
  RETURN_IF_ERROR(body.number("frequency_penalty", -2, 2, sampling.frequency_penalty));
  ASSIGN_OR_RETURN(const auto top_k, body.whole("top_k", 0, 1 << 30));
  sampling.top_k = static_cast<int32_t>(top_k.value_or(sampling.top_k));
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  ASSIGN_OR_RETURN(const auto seed, body.whole("seed", std::numeric_limits<int64_t>::min(), kMost));
  if (seed) {
    sampling.seed = static_cast<uint64_t>(*seed);
    sampling.seed_given = true;
  }
  // The newer name wins, as it does at OpenAI.
  for (const char* name : {"max_tokens", "max_completion_tokens"}) {
    ASSIGN_OR_RETURN(const auto most, body.whole(name, 0, 1 << 30));
    request.max_tokens = static_cast<int32_t>(most.value_or(request.max_tokens));
  }
  RETURN_IF_ERROR(read_stops(body, request));
  return read_bias(body, request);
}

Result<Request> read_body(Json value, bool chat, const Request& usual) {
  Body body(std::move(value));
  Request request = usual;
  RETURN_IF_ERROR(read_prompt(body, chat, request));
  RETURN_IF_ERROR(read_sampling(body, request));
  if (const auto model = body.take("model")) {
    if (!model->is_string()) {
      return wrong("model", "a string", *model);
    }
    request.model = model->get<std::string>();
  }
  if (const auto stream = body.take("stream"); stream && *stream != Json(false)) {
    return wrong("stream", "false, or nothing: a batch does not stream", *stream);
  }
  body.take("stream_options");
  body.take("user");
  ASSIGN_OR_RETURN(const auto choices, body.whole("n", 1, 128));
  if (choices.value_or(1) != 1) {
    return Error{"body.n: expected 1, found " + std::to_string(*choices) +
                 ": write a line for each answer."};
  }
  if (!body.rest().empty()) {
    const Json usual_extra = parse_json(usual.extra.empty() ? "{}" : usual.extra);
    Json extra = usual_extra;
    extra.update(body.rest());
    request.extra = extra.dump();
  }
  return request;
}

const char* finish_reason(StopReason reason) {
  switch (reason) {
    case StopReason::kLength:
    case StopReason::kContextFull:
      return "length";
    case StopReason::kToolCalls:
      return "tool_calls";
    case StopReason::kContentFilter:
      return "content_filter";
    default:
      return "stop";
  }
}

OrderedJson choice_of(const BatchRequest& asked, const Completion& completion) {
  OrderedJson choice = {{"index", 0}};
  if (!asked.chat) {
    choice["text"] = completion.text;
  } else {
    OrderedJson message = {{"role", "assistant"}, {"content", completion.text}};
    if (!completion.reasoning.empty()) {
      message["reasoning_content"] = completion.reasoning;
    }
    for (const ToolCall& call : completion.tool_calls) {
      message["tool_calls"].push_back(
          {{"id", call.id},
           {"type", "function"},
           {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
    }
    choice["message"] = std::move(message);
  }
  choice["finish_reason"] = finish_reason(completion.reason);
  return choice;
}

std::string line_id(int64_t number) {
  return "batch_req_" + std::to_string(number);
}

}  // namespace

Result<BatchRequest> parse_batch_line(std::string_view line, const Request& usual) {
  Json value = parse_json(line);
  if (!value.is_object()) {
    return Error{"expected a JSON object with custom_id, url and body, found " +
                 std::string(value.is_discarded() ? "text that is no JSON" : shown(value)) + "."};
  }
  BatchRequest asked;
  if (!value.contains("custom_id") || !value["custom_id"].is_string() ||
      value["custom_id"].get_ref<const std::string&>().empty()) {
    return Error{"custom_id: expected a text that tells this line from the others."};
  }
  asked.custom_id = value["custom_id"].get<std::string>();
  if (value.value("method", Json("POST")) != Json("POST")) {
    return Error{"method: expected POST, found " + shown(value["method"]) + "."};
  }
  const Json url = value.value("url", Json(kChatUrl));
  if (url != Json(kChatUrl) && url != Json(kTextUrl)) {
    return Error{std::string("url: expected ") + kChatUrl + " or " + kTextUrl + ", found " +
                 shown(url) + "."};
  }
  asked.chat = url == Json(kChatUrl);
  if (!value.contains("body") || !value["body"].is_object()) {
    return Error{"body: expected the request as a JSON object, found " +
                 shown(value.value("body", Json())) + "."};
  }
  ASSIGN_OR_RETURN(asked.request, read_body(std::move(value["body"]), asked.chat, usual));
  return asked;
}

std::string custom_id_of(std::string_view line) {
  const Json value = parse_json(line);
  const bool has_id =
      value.is_object() && value.contains("custom_id") && value["custom_id"].is_string();
  return has_id ? value["custom_id"].get<std::string>() : std::string();
}

nlohmann::ordered_json answer_line(const BatchRequest& asked, const Completion& completion,
                                   int64_t number, int64_t created) {
  const Usage& usage = completion.usage;
  const Served& served = completion.served;
  OrderedJson body = {
      {"id", (asked.chat ? "chatcmpl-" : "cmpl-") + std::to_string(number)},
      {"object", asked.chat ? "chat.completion" : "text_completion"},
      {"created", created},
      {"model", served.model},
      {"choices", OrderedJson::array({choice_of(asked, completion)})},
      {"usage",
       {{"prompt_tokens", usage.prompt_tokens},
        {"completion_tokens", usage.completion_tokens},
        {"total_tokens", usage.prompt_tokens + usage.completion_tokens}}},
      {"tern",
       {{"provider", served.provider},
        {"route_reason", served.route_reason},
        {"cost_usd", served.cost_known ? OrderedJson(served.cost_usd) : OrderedJson()},
        {"estimated", usage.estimated}}}};
  return {{"id", line_id(number)},
          {"custom_id", asked.custom_id},
          {"response",
           {{"status_code", 200}, {"request_id", served.request_id}, {"body", std::move(body)}}},
          {"error", nullptr}};
}

nlohmann::ordered_json error_line(const std::string& custom_id, const BatchError& error,
                                  int64_t number) {
  OrderedJson line = {{"id", line_id(number)},
                      {"custom_id", custom_id.empty() ? OrderedJson() : OrderedJson(custom_id)},
                      {"response", nullptr},
                      {"error", {{"code", error.code}, {"message", error.message}}}};
  if (error.status != 0) {
    line["error"]["status"] = error.status;
  }
  return line;
}

}  // namespace tern::cli
