#pragma once
// One line of a batch file, in the form that OpenAI's batch API takes and gives.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "engine/api/message.h"
#include "engine/base/result.h"

namespace tern::cli {

// What a line asks for.
struct BatchRequest {
  std::string custom_id;
  bool chat = true;  // /v1/chat/completions; otherwise /v1/completions
  Request request;   // model: as the line names it
};

// Why a line has no answer, as its output line says it.
struct BatchError {
  std::string code;  // a class of error, as "rate_limit"
  std::string message;
  int32_t status = 0;  // of HTTP; 0: no server answered
};

// Reads {"custom_id", "method", "url", "body"}. `usual` is what the command line says of sampling,
// length and stops; members of the body replace it. Members that Tern's own engine does not know
// go into Request::extra. Errors name the member, what was expected and what was found.
Result<BatchRequest> parse_batch_line(std::string_view line, const Request& usual);

// The custom_id of a line that parse_batch_line refuses; empty if it has none.
std::string custom_id_of(std::string_view line);

// The output line of an answer. `number` counts input lines from 1, `created` is Unix time in s.
nlohmann::ordered_json answer_line(const BatchRequest& asked, const Completion& completion,
                                   int64_t number, int64_t created);

// The output line of a request that failed.
nlohmann::ordered_json error_line(const std::string& custom_id, const BatchError& error,
                                  int64_t number);

}  // namespace tern::cli
