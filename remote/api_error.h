#pragma once
// What servers say when they refuse, in all the shapes that they say it in, made into one class and one sentence.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "remote/api_key.h"
#include "remote/api_outcome.h"
#include "remote/transport.h"

namespace tern {

// How much of a server's own words is kept.
inline constexpr size_t kMostWordsBytes = 2048;

// The error of a body, whatever its shape. Empty members: not said.
struct ServerError {
  std::string code;
  std::string type;
  std::string param;    // the field of the request that it is about
  std::string message;  // one line without control characters, at most kMostWordsBytes
  int32_t status = 0;   // that the body names
  std::string request_id;
  std::optional<int64_t> retry_after_ms;
  std::optional<int64_t> resets_at;  // Unix time in ms
};

// Of the body of an answer whose status says that it is an error: OpenAI's object, Anthropic's, a string, FastAPI's detail, HTML,
// plain text, nothing.
ServerError read_error_body(std::string_view body);

// Of a part of an answer that should be a completion; none: this is no error.
std::optional<ServerError> error_within(const nlohmann::json& value);

ApiErrorClass classify(int32_t status, const ServerError& said);

// "rate limit", as messages and tables name the class.
const char* name_of(ApiErrorClass kind);

// What messages about a provider need to know.
struct ErrorPlace {
  const std::string& provider;
  const ApiKey& key;
  const std::string& model;  // empty: no model was named
  int64_t now_unix_ms = 0;
  std::string_view key_header = {};      // empty: Authorization
  const HttpHeaders* headers = nullptr;  // sent besides: their values may be keys too
};

// The error of a refusal: class, times, a message with provider, status, request id, the server's words and what to do.
ApiError refusal(const ErrorPlace& place, const HttpResponse& head, const ServerError& said);

// The error of an exchange that failed before its answer was whole.
ApiError transport_error(const ErrorPlace& place, const HttpOutcome& outcome);

// An error that we found ourselves; `words` is a sentence.
ApiError own_error(const ErrorPlace& place, const HttpResponse& head, ApiErrorClass kind,
                   const std::string& words);
// The same of an answer that had begun well: what to do is another thing than where nothing that
// made sense came.
ApiError broken_answer(const ErrorPlace& place, const HttpResponse& head, const std::string& words);

// The id that a server gave the request; empty: none.
std::string request_id_of(const HttpResponse& head);

}  // namespace tern
