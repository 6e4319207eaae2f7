#include "remote/api_error.h"

#include <algorithm>
#include <array>

#include "engine/base/ascii.h"
#include "remote/asked_wait.h"
#include "remote/plain_line.h"
#include "remote/time_text.h"

namespace tern {
namespace {

using Kind = ApiErrorClass;

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
  static constexpr std::array<Advice, 14> kAdvice = {{
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
      {"local", "", ""},
  }};
  return kAdvice[static_cast<size_t>(kind)];
}

std::string advice_on_key(const ApiKey& key, std::string_view header) {
  if (key.value.empty()) {
    return "No key was sent: name the environment variable or file that holds one.";
  }
  const std::string sent = header.empty() ? "Authorization: Bearer " : std::string(header) + ": ";
  return "It was sent as \"" + sent + mask_key(key.value) + "\", from " + key.source +
         ". Is it a key of this provider, complete, and still valid?";
}

std::string advice_of(const ErrorPlace& place, const ApiError& error) {
  if (error.kind == Kind::kAuth) {
    return advice_on_key(place.key, place.key_header);
  }
  std::string advice = advice_for(error.kind).todo;
  if (error.kind == Kind::kBadRequest && error.status == 413) {
    advice =
        "A server or proxy there takes no request of this length: shorten the prompt, or ask "
        "another provider.";
  } else if (error.status / 100 == 3) {
    advice = "If you trust that address, name it as the base URL.";
  }
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
  error.request_id = redact_keys(error.request_id, place.key.value);
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
  if (place.headers != nullptr) {
    for (const auto& [name, value] : *place.headers) {
      // "Bearer KEY": the key alone may come back. What is shorter hides nothing, and may be any word.
      const std::string secret = value.substr(value.rfind(' ') + 1);
      constexpr size_t kLeastKey = 8;
      error.cause = secret.size() < kLeastKey ? error.cause : redact_keys(error.cause, secret);
    }
  }
  const std::string advice = advice_of(place, error);
  error.message = error.cause + (advice.empty() ? "" : " " + advice);
}

// Where a redirect leads, without the query, which may hold anything; empty: it does not say.
std::string redirect_target(const HttpResponse& head) {
  const std::string* location = head.header("location");
  if (location == nullptr) {
    return {};
  }
  constexpr size_t kMost = 200;
  std::string target = plain_line(location->substr(0, location->find_first_of("?#")), kMost);
  const size_t user = target.find('@');
  return user == std::string::npos ? target : std::string();
}

// The option and the member of providers.json that set a limit of time; null: none of ours was
// exceeded.
const char* setting_of(HttpLimit limit) {
  switch (limit) {
    case HttpLimit::kNone:
      return nullptr;
    case HttpLimit::kConnect:
      return "connect";
    case HttpLimit::kFirstByte:
      return "first-byte";
    case HttpLimit::kIdle:
      return "idle";
    case HttpLimit::kTotal:
      return "total";
  }
  return nullptr;
}

std::string with_underscores(std::string name) {
  std::ranges::replace(name, '-', '_');
  return name;
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
  // No limit lasts for more than a month: what says so, as a date of 2099, is a mistake.
  constexpr int64_t kMostBelieved = 31 * int64_t{86'400'000};
  if (error.retry_after_ms.value_or(0) > kMostBelieved) {
    error.retry_after_ms.reset();
  }
  if (error.resets_at && *error.resets_at - place.now_unix_ms > kMostBelieved) {
    error.resets_at.reset();
  }
  error.param = said.param;
  std::string words = said.message;
  if (words.empty()) {
    words = said.code.empty() ? said.type : said.code;
  }
  if (head.status / 100 == 3) {
    error.settings = true;
    const std::string target = redirect_target(head);
    words = "it redirects" + (target.empty() ? "" : " to " + target) +
            ", which is not followed: the prompt would go to another place";
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
  error.settings = outcome.failure == HttpFailure::kRequest ||
                   outcome.failure == HttpFailure::kResolve ||
                   outcome.failure == HttpFailure::kTls || outcome.refused;
  put_message(place, "", outcome.message, error);
  if (const char* setting = setting_of(outcome.limit); setting != nullptr) {
    const std::string name = setting;
    error.message += " The limit is --timeout-" + name + ", or timeouts." + with_underscores(name) +
                     " of this provider in providers.json.";
  }
  return error;
}

ApiError own_error(const ErrorPlace& place, const HttpResponse& head, ApiErrorClass kind,
                   const std::string& words) {
  ApiError error = error_at(place, head, kind);
  error.ours = kind == Kind::kBadRequest;
  put_message(place, advice_for(kind).what, words, error);
  return error;
}

ApiError broken_answer(const ErrorPlace& place, const HttpResponse& head,
                       const std::string& words) {
  ApiError error = error_at(place, head, Kind::kProtocol);
  put_message(place, "the answer is not whole", words, error);
  error.message = error.cause + " Ask again, or another provider.";
  return error;
}

}  // namespace tern
