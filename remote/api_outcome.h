#pragma once
// What came of asking somebody for a completion: the completion, or an error with all that the caller needs to decide what next.

#include <cstdint>
#include <optional>
#include <string>

#include "engine/api/message.h"

namespace tern {

// DESIGN.md has the policy of each: retried or not, handed to the next provider or not, counted by the breaker or not.
enum class ApiErrorClass : uint8_t {
  kAuth,
  kPermission,
  kQuota,
  kRateLimit,
  kContextLength,
  kModelNotFound,
  kBadRequest,
  kContentPolicy,
  kTimeout,
  kServer,
  kNetwork,
  kProtocol,
  kCancelled,
  kLocal,  // this machine failed: its model, its memory, its ledger
};

struct ApiError {
  ApiErrorClass kind = ApiErrorClass::kProtocol;
  std::string provider;
  int32_t status = 0;      // of HTTP; 0: none came
  std::string request_id;  // as the server named it
  std::string message;  // a sentence for the user: provider, status, request id, what to do; no key
  std::optional<int64_t> retry_after_ms;  // how long the server asks to wait
  std::optional<int64_t> resets_at;       // Unix time in ms at which a quota or limit is lifted
  std::string partial_text;               // what had come of the answer
  bool delivered = false;                 // whether the caller's sink got any of it
  std::string cause;                      // the message without what to do
  std::string param;                      // the field of the request that the server names
  bool ours = false;  // found by us in the request: it is the same wherever it would be sent
  bool settings =
      false;  // a wrong address, port or certificate: nothing is learnt of the server's health
  // So long this client would have waited for another attempt, had its caller allowed it.
  std::optional<int64_t> worth_waiting_ms;
};

struct ApiOutcome {
  Completion completion;
  std::optional<ApiError> error;
  // Attempts that failed after their whole request had gone out, unless the server refused it before any text came.
  int32_t unanswered = 0;
  int32_t cached_tokens = 0;  // those of the prompt that the server took from its cache
  // Cached tokens count at the full price, because theirs is not known: the answer cost this much at most.
  bool cost_is_upper_bound = false;

  explicit operator bool() const noexcept { return !error.has_value(); }
};

}  // namespace tern
