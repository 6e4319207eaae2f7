#include "remote/dialect_openai.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "engine/base/ascii.h"
#include "engine/base/json_text.h"
#include "remote/json_fields.h"
#include "remote/plain_line.h"

namespace tern {
namespace {

using Json = nlohmann::json;

// Names of models are shown.
constexpr size_t kMostNameBytes = 256;

// 0.7F as 0.7, not as the nearest double to it, 0.699999988.
double shortest(float value) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  double number = 0;
  std::from_chars(text, end, number);
  return number;
}

// Bytes that are no UTF-8 become U+FFFD: JSON has no place for them.
std::string dumped(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// What a server may refuse and an answer can do without. Tools, formats and stops are not among
// them: without them the answer is another one.
constexpr std::array<const char*, 13> kMayBeLeftOut = {
    "stream_options",     "seed",          "temperature", "top_p", "presence_penalty",
    "frequency_penalty",  "logit_bias",    "top_k",       "min_p", "repeat_penalty",
    "repetition_penalty", "repeat_last_n", "ignore_eos"};

// Takes out what the server has refused; the rest of what it might refuse is noted.
void leave_out_refused(const ProviderQuirks& quirks, Json& body, ChatBody& written) {
  for (const char* name : kMayBeLeftOut) {
    if (!body.contains(name)) {
      continue;
    }
    if (quirks.refused_fields.contains(name)) {
      body.erase(name);
      if (name != std::string_view("stream_options")) {
        written.left_out.emplace_back(name);
      }
    } else {
      written.fields.emplace_back(name);
    }
  }
}

// Puts the members of the JSON object that `extra` spells into `target`.
Result<void> put_extra(const std::string& extra, const char* where, Json& target) {
  if (extra.empty()) {
    return {};
  }
  const Json more = parse_json(extra);
  if (!more.is_object()) {
    return Error{std::string(where) + ": expected further fields as a JSON object; found \"" +
                 extra.substr(0, 60) + "\"."};
  }
  target.update(more);
  return {};
}

Result<Json> messages_of(const Request& request) {
  Json list = Json::array();
  if (request.messages.empty()) {
    list.push_back({{"role", "user"}, {"content", request.prompt}});
  }
  for (const Message& message : request.messages) {
    Json one = {{"role", message.role}, {"content", message.content}};
    RETURN_IF_ERROR(put_extra(message.extra, "a message of the request", one));
    list.push_back(std::move(one));
  }
  return list;
}

void put_standard_sampling(const SamplingParams& wanted, Json& body) {
  const SamplingParams usual;
  const auto put = [&](const char* name, float value, float default_value) {
    if (value != default_value) {
      body[name] = shortest(value);
    }
  };
  put("temperature", wanted.temperature, usual.temperature);
  put("top_p", wanted.top_p, usual.top_p);
  put("presence_penalty", wanted.presence_penalty, usual.presence_penalty);
  put("frequency_penalty", wanted.frequency_penalty, usual.frequency_penalty);
  if (wanted.seed_given) {
    // Servers read a signed number of 64 bits.
    body["seed"] = wanted.seed & uint64_t{std::numeric_limits<int64_t>::max()};
  }
  for (const auto& [token, bias] : wanted.logit_bias) {
    // The API's own bounds; ours are infinite where a token is forbidden.
    body["logit_bias"][std::to_string(token)] = shortest(std::clamp(bias, -100.0F, 100.0F));
  }
}

// What OpenAI does not know. `names` of the fields that were set and may not be sent come back.
std::vector<std::string> put_further_sampling(const Request& request, bool taken, Json& body) {
  const SamplingParams& wanted = request.sampling;
  const SamplingParams usual;
  std::vector<std::string> left_out;
  const auto put = [&](const char* name, bool set, const Json& value) {
    if (set && taken) {
      body[name] = value;
    } else if (set) {
      left_out.emplace_back(name);
    }
  };
  put("top_k", wanted.top_k != usual.top_k, wanted.top_k);
  put("min_p", wanted.min_p != usual.min_p, shortest(wanted.min_p));
  put("repeat_penalty", wanted.repeat_penalty != usual.repeat_penalty,
      shortest(wanted.repeat_penalty));
  put("repeat_last_n", wanted.repeat_last_n != usual.repeat_last_n, wanted.repeat_last_n);
  put("ignore_eos", request.ignore_eos, true);
  if (body.contains("repeat_penalty")) {
    body["repetition_penalty"] = body["repeat_penalty"];  // vLLM's name for it
  }
  return left_out;
}

// Whether a text names a field, as a word of its own.
bool names_field(std::string_view words, std::string_view field) {
  const auto part_of_name = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  for (size_t at = 0; (at = words.find(field, at)) != std::string_view::npos; ++at) {
    const size_t end = at + field.size();
    const bool begins = at == 0 || !part_of_name(words[at - 1]);
    if (begins && (end == words.size() || !part_of_name(words[end]))) {
      return true;
    }
  }
  return false;
}

// Whether a refusal, in lower case, is about a field's presence rather than its value.
bool says_unknown(const std::string& words) {
  static constexpr std::string_view kWords[] = {
      "unsupported",   "not supported",     "not support",
      "unknown",       "unrecognized",      "unrecognised",
      "unexpected",    "not permitted",     "extra_forbidden",
      "extra inputs",  "extra fields",      "additional propert",
      "not allowed",   "cannot find field", "no longer",
      "deprecated",    "only the default",  "not implemented",
      "not available", "invalid parameter", "invalid field",
      "no such field", "not a valid field", "不支持",
      "未知"};
  return std::ranges::any_of(
      kWords, [&](std::string_view each) { return words.find(each) != std::string::npos; });
}

}  // namespace

Result<ChatBody> write_chat_request(const Request& request, const std::string& model,
                                    const ProviderQuirks& quirks, bool stream,
                                    const std::string& extra_body) {
  Json body = {{"model", model}};
  ASSIGN_OR_RETURN(body["messages"], messages_of(request));
  if (stream) {
    body["stream"] = true;
    if (!quirks.no_stream_options) {
      body["stream_options"] = {{"include_usage", true}};
    }
  }
  if (request.max_tokens >= 0) {
    body[quirks.max_completion_tokens ? "max_completion_tokens" : "max_tokens"] =
        request.max_tokens;
  }
  if (!request.stop.empty()) {
    body["stop"] = request.stop;
  }
  put_standard_sampling(request.sampling, body);
  ChatBody written;
  written.left_out = put_further_sampling(request, quirks.more_sampling, body);
  leave_out_refused(quirks, body, written);
  RETURN_IF_ERROR(put_extra(extra_body, "extra_body of the provider", body));
  RETURN_IF_ERROR(put_extra(request.extra, "the request", body));
  const auto several = number_in(member(body, "n"));
  if (several && *several != 1) {
    return Error{
        "the request: expected one answer at a time (n = 1); found n = " + dumped(body["n"]) + "."};
  }
  written.json = dumped(body);
  return written;
}

std::string write_embeddings_request(const std::vector<std::string>& texts,
                                     const std::string& model) {
  return dumped({{"model", model}, {"input", texts}, {"encoding_format", "float"}});
}

Result<std::vector<RemoteModel>> read_models(std::string_view body) {
  const Json value = parse_json(body);
  const Json& list = value.is_array() ? value : member(value, "data");
  if (!list.is_array()) {
    return Error{"expected a list of models; found something else."};
  }
  std::vector<RemoteModel> models;
  for (const Json& entry : list) {
    RemoteModel model;
    model.id = plain_line(text_at(entry, "id"), kMostNameBytes);
    model.owner = plain_line(text_at(entry, "owned_by"), kMostNameBytes);
    for (const char* name : {"context_length", "max_model_len", "context_window"}) {
      if (model.context == 0) {
        model.context = count_at(entry, name).value_or(0);
      }
    }
    if (!model.id.empty()) {
      models.push_back(std::move(model));
    }
  }
  return models;
}

Result<Embeddings> read_embeddings(std::string_view body, size_t count) {
  const Json value = parse_json(body);
  const Json& list = member(value, "data");
  if (!list.is_array() || list.size() != count) {
    return Error{"expected " + std::to_string(count) + " embeddings; found " +
                 (list.is_array() ? std::to_string(list.size()) : "none") + "."};
  }
  Embeddings result;
  result.model = plain_line(text_at(value, "model"), kMostNameBytes);
  result.vectors.resize(count);
  for (size_t i = 0; i < count; ++i) {
    const size_t index =
        static_cast<size_t>(count_at(list[i], "index").value_or(static_cast<int32_t>(i)));
    const Json& vector = member(list[i], "embedding");
    if (index >= count || !result.vectors[index].empty() || !vector.is_array() || vector.empty() ||
        !std::ranges::all_of(vector, &Json::is_number)) {
      return Error{"expected embeddings as lists of numbers, one an index; found another thing."};
    }
    result.vectors[index] = vector.get<std::vector<float>>();
  }
  for (const std::vector<float>& vector : result.vectors) {
    if (vector.size() != result.vectors.front().size()) {
      return Error{"expected embeddings of one length; found " + std::to_string(vector.size()) +
                   " numbers beside " + std::to_string(result.vectors.front().size()) + "."};
    }
  }
  const auto tokens = count_at(member(value, "usage"), "prompt_tokens");
  result.usage.prompt_tokens = tokens.value_or(0);
  result.usage.estimated = !tokens.has_value();
  return result;
}

bool learn_quirk(std::string_view words, std::string_view param, const ChatBody& sent,
                 ProviderQuirks& quirks) {
  if (!quirks.max_completion_tokens && names_field(words, "max_completion_tokens")) {
    quirks.max_completion_tokens = true;
    return true;
  }
  const bool unknown = says_unknown(lower(words));
  bool learnt = false;
  for (const std::string& field : sent.fields) {
    const bool named = param == field || names_field(words, field) ||
                       (field == "stream_options" && names_field(words, "include_usage"));
    // Streams without a usage are known from servers that refuse the option in other words.
    if (named && (unknown || field == "stream_options")) {
      learnt = quirks.refused_fields.insert(field).second || learnt;
    }
  }
  return learnt;
}

int32_t estimated_tokens(size_t bytes) {
  constexpr size_t kMost = std::numeric_limits<int32_t>::max();
  return static_cast<int32_t>(std::min(kMost, bytes / 4 + (bytes % 4 != 0 ? 1 : 0)));
}

}  // namespace tern
