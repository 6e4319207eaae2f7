#include "remote/api_error.h"

#include <algorithm>
#include <array>

#include "engine/base/ascii.h"
#include "remote/retry.h"
#include "remote/time_text.h"

namespace tern {
namespace {

using Kind = ApiErrorClass;

struct Named {
  std::string_view name;
  Kind kind;
};

// Codes and types that decide whatever the status is. Those of quotas stand before those of rates: OpenAI gives both under 429.
constexpr Named kCodes[] = {
    {"context_length_exceeded", Kind::kContextLength},
    {"context_window_exceeded", Kind::kContextLength},
    {"exceed_context_size_error", Kind::kContextLength},
    {"request_too_large", Kind::kContextLength},
    {"content_policy_violation", Kind::kContentPolicy},
    {"content_filter", Kind::kContentPolicy},
    {"moderation_blocked", Kind::kContentPolicy},
    {"data_inspection_failed", Kind::kContentPolicy},
    {"insufficient_quota", Kind::kQuota},
    {"insufficient_balance", Kind::kQuota},
    {"insufficient_user_quota", Kind::kQuota},
    {"billing_hard_limit_reached", Kind::kQuota},
    {"billing_not_active", Kind::kQuota},
    {"quota_exceeded", Kind::kQuota},
    {"rate_limit_exceeded", Kind::kRateLimit},
    {"rate_limit_error", Kind::kRateLimit},
    {"rate_limit", Kind::kRateLimit},
    {"rate_limited", Kind::kRateLimit},
    {"upstream_rate_limited", Kind::kRateLimit},
    {"too_many_requests", Kind::kRateLimit},
    {"resource_exhausted", Kind::kRateLimit},
    {"model_not_found", Kind::kModelNotFound},
    {"model_not_allowed", Kind::kPermission},
    {"permission_denied", Kind::kPermission},
    {"permission_error", Kind::kPermission},
    {"invalid_api_key", Kind::kAuth},
    {"api_key_invalid", Kind::kAuth},
    {"missing_api_key", Kind::kAuth},
    {"authentication_error", Kind::kAuth},
    {"unauthorized", Kind::kAuth},
};

// Codes and types that decide where no status does: in the middle of an answer that began with 200.
constexpr Named kCodesWithoutStatus[] = {
    {"invalid_request_error", Kind::kBadRequest},
    {"not_found_error", Kind::kModelNotFound},
    {"request_timeout", Kind::kTimeout},
    {"timeout", Kind::kTimeout},
    {"timeout_error", Kind::kTimeout},
};

// Words of messages, in lower case, for servers that have no codes.
constexpr Named kWords[] = {
    {"maximum context length", Kind::kContextLength},
    {"context length", Kind::kContextLength},
    {"context window", Kind::kContextLength},
    {"context size", Kind::kContextLength},
    {"prompt is too long", Kind::kContextLength},
    {"input is too long", Kind::kContextLength},
    {"content policy", Kind::kContentPolicy},
    {"content management policy", Kind::kContentPolicy},
    {"safety system", Kind::kContentPolicy},
    {"exceeded your current quota", Kind::kQuota},
    {"insufficient quota", Kind::kQuota},
    {"insufficient balance", Kind::kQuota},
    {"insufficient credit", Kind::kQuota},
    {"credit balance is too low", Kind::kQuota},
    {"cost limit", Kind::kQuota},
    {"rate limit", Kind::kRateLimit},
    {"rate_limit", Kind::kRateLimit},
    {"too many requests", Kind::kRateLimit},
    {"invalid api key", Kind::kAuth},
    {"incorrect api key", Kind::kAuth},
    {"missing api key", Kind::kAuth},
    {"api key not valid", Kind::kAuth},
};

template <size_t n>
std::optional<Kind> by_code(const Named (&table)[n], const std::string& code,
                            const std::string& type) {
  for (const std::string& name : {code, type}) {
    const auto found = std::ranges::find(table, std::string_view(name), &Named::name);
    if (found != std::end(table)) {
      return found->kind;
    }
  }
  return {};
}

std::optional<Kind> by_words(const std::string& message) {
  const bool absent = message.find("not found") != std::string::npos ||
                      message.find("does not exist") != std::string::npos;
  if (absent && message.find("model") != std::string::npos) {
    return Kind::kModelNotFound;
  }
  const auto found = std::ranges::find_if(
      kWords, [&](const Named& words) { return message.find(words.name) != std::string::npos; });
  return found == std::end(kWords) ? std::nullopt : std::optional(found->kind);
}

Kind by_status(int32_t status) {
  switch (status) {
    case 401:
      return Kind::kAuth;
    case 402:
      return Kind::kQuota;
    case 403:
      return Kind::kPermission;
    case 404:
      return Kind::kModelNotFound;
    case 408:
    case 504:
    case 524:  // a front proxy's: the server behind it took too long
      return Kind::kTimeout;
    case 409:
      return Kind::kServer;
    case 413:
      return Kind::kContextLength;
    case 429:
      return Kind::kRateLimit;
    case 451:
      return Kind::kContentPolicy;
    default:
      break;
  }
  if (status >= 500) {
    return Kind::kServer;
  }
  // A redirect is not followed: it would take the prompt, if not the key, to a place that nobody named.
  return status >= 400 ? Kind::kBadRequest : status >= 300 ? Kind::kProtocol : Kind::kServer;
}

// Whether a text can be a request's id in a message: 128 printable characters at most.
bool is_id(const std::string& text) {
  return !text.empty() && text.size() <= 128 &&
         std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
}

// What is said of a class, and what to do about it.
struct Advice {
  const char* name;
  const char* what;
  const char* todo;
};

const Advice& advice_for(Kind kind) {
  static constexpr std::array<Advice, 13> kAdvice = {{
      {"auth", "the key was refused", ""},  // what to do depends on the key
      {"permission", "not allowed",
       "The key is known, but may not do this: look at its rights in the provider's console, or "
       "name "
       "another model."},
      {"quota", "the quota is used up", "Add credit, or ask another provider."},
      {"rate limit", "too many requests", "Send fewer at a time, or ask another provider."},
      {"context length", "the request is too long for the model",
       "Shorten the prompt, lower the number of tokens wanted, or name a model with a larger "
       "context."},
      {"model not found", "no such model or address",
       "`tern remote models` lists what the provider has. Is the base URL right, with its /v1?"},
      {"bad request", "the request was refused", "It would be refused again: change it."},
      {"content policy", "refused by the provider's content policy",
       "It would be refused again: change the text."},
      {"timeout", "no answer in time", "Try again, allow more time, or ask another provider."},
      {"server", "the server failed", "Try again later, or ask another provider."},
      {"network", "", ""},  // the transport's words say it all
      {"protocol", "the answer is not as expected",
       "Is the base URL that of an OpenAI-compatible API, with its /v1?"},
      {"cancelled", "cancelled", ""},
  }};
  return kAdvice[static_cast<size_t>(kind)];
}

std::string advice_on_key(const ApiKey& key) {
  if (key.value.empty()) {
    return "No key was sent: name the environment variable or file that holds one.";
  }
  return "It was sent as \"Authorization: Bearer " + mask_key(key.value) + "\", from " +
         key.source + ". Is it a key of this provider, complete, and still valid?";
}

std::string advice_of(const ErrorPlace& place, const ApiError& error) {
  if (error.kind == Kind::kAuth) {
    return advice_on_key(place.key);
  }
  std::string advice = advice_for(error.kind).todo;
  if (error.kind == Kind::kModelNotFound && !place.model.empty()) {
    advice = "Asked for was \"" + place.model + "\". " + advice;
  }
  const bool limit = error.kind == Kind::kRateLimit || error.kind == Kind::kQuota;
  if (limit && error.resets_at && *error.resets_at > place.now_unix_ms) {
    advice = "The limit is lifted at " + utc_text(*error.resets_at) + ". " + advice;
  } else if (error.retry_after_ms) {
    advice = "The server asks to wait " + duration_text(*error.retry_after_ms) + ". " + advice;
  }
  return advice;
}

std::string as_sentence(const std::string& text) {
  const bool ended = text.ends_with('.') || text.ends_with('!') || text.ends_with('?');
  return ended ? text : text + ".";
}

// "name: what (401, request abc): the server's words. What to do." Without a `what` the words stand in its place.
void put_message(const ErrorPlace& place, const char* what, std::string words, ApiError& error) {
  std::string about = error.status == 0 ? "" : std::to_string(error.status);
  if (!error.request_id.empty()) {
    about += (about.empty() ? "request " : ", request ") + error.request_id;
  }
  std::string text = what;
  if (text.empty()) {
    text = words.substr(0, words.find_last_not_of('.') + 1);
    words.clear();
  }
  text += about.empty() ? "" : " (" + about + ")";
  text += words.empty() ? "" : ": " + words;
  error.cause = redact_keys(place.provider + ": " + as_sentence(text), place.key.value);
  const std::string advice = advice_of(place, error);
  error.message = error.cause + (advice.empty() ? "" : " " + advice);
}

ApiError error_at(const ErrorPlace& place, const HttpResponse& head, ApiErrorClass kind) {
  ApiError error;
  error.kind = kind;
  error.provider = place.provider;
  error.status = head.status;
  error.request_id = request_id_of(head);
  return error;
}

}  // namespace

ApiErrorClass classify(int32_t status, const ServerError& said) {
  // An error in the middle of a good answer: the body may name what the status would have been.
  const int32_t meant = status / 100 == 2 && said.status != 0 ? said.status : status;
  const std::string code = lower(said.code);
  const std::string type = lower(said.type);
  if (code.ends_with("_cost_limit_exceeded")) {  // daily_, total_, weekly_opus_
    return Kind::kQuota;
  }
  if (const auto kind = by_code(kCodes, code, type)) {
    return *kind;
  }
  const bool no_status = meant / 100 == 2;
  // A failing server's words about anything else are not to be believed.
  const auto kind = meant >= 500 ? std::nullopt : by_words(lower(said.message));
  // 401 is always the key, 429 always a limit; only others are vague.
  const bool vague = meant != 401 && (meant != 429 || kind == Kind::kQuota);
  if (kind && vague) {
    return *kind;
  }
  if (no_status) {
    return by_code(kCodesWithoutStatus, code, type).value_or(Kind::kServer);
  }
  return by_status(meant);
}

const char* name_of(ApiErrorClass kind) {
  return advice_for(kind).name;
}

std::string request_id_of(const HttpResponse& head) {
  for (const char* name : {"x-request-id", "request-id", "x-generation-id", "cf-ray"}) {
    const std::string* id = head.header(name);
    if (id != nullptr && is_id(*id)) {
      return *id;
    }
  }
  return "";
}

ApiError refusal(const ErrorPlace& place, const HttpResponse& head, const ServerError& said) {
  ApiError error = error_at(place, head, classify(head.status, said));
  if (error.request_id.empty() && is_id(said.request_id)) {
    error.request_id = said.request_id;
  }
  error.retry_after_ms = asked_wait_ms(head, said, error.kind, place.now_unix_ms);
  error.resets_at = said.resets_at;
  std::string words = said.message;
  if (words.empty()) {
    words = said.code.empty() ? said.type : said.code;
  }
  if (head.status / 100 == 3) {
    words = "it redirects, which is not followed: the prompt would go to another place";
  }
  put_message(place, advice_for(error.kind).what, words, error);
  return error;
}

ApiError transport_error(const ErrorPlace& place, const HttpOutcome& outcome) {
  if (outcome.failure == HttpFailure::kCancelled) {
    return own_error(place, outcome.response, Kind::kCancelled, "");
  }
  const bool late = outcome.failure == HttpFailure::kTimeout;
  ApiError error = error_at(place, outcome.response, late ? Kind::kTimeout : Kind::kNetwork);
  put_message(place, "", outcome.message, error);
  return error;
}

ApiError own_error(const ErrorPlace& place, const HttpResponse& head, ApiErrorClass kind,
                   const std::string& words) {
  ApiError error = error_at(place, head, kind);
  put_message(place, advice_for(kind).what, words, error);
  return error;
}

}  // namespace tern
