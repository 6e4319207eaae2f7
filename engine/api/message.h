#pragma once
// What goes in and out of anything that completes text, local or remote.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace tern {

struct Message {
  std::string role;  // "system", "user", "assistant"
  std::string content;
  // Further members for a remote API, as the text of a JSON object; empty: none.
  std::string extra = {};
};

// Names and defaults follow llama.cpp where it has them.
struct SamplingParams {
  float temperature = 0.8F;  // 0 = greedy
  int32_t top_k = 40;        // 0 = off
  float top_p = 0.95F;       // 1 = off
  float min_p = 0.05F;       // 0 = off
  float repeat_penalty = 1.0F;
  float presence_penalty = 0.0F;
  float frequency_penalty = 0.0F;
  int32_t repeat_last_n = 64;  // how many recent tokens the penalties look at; -1 = all
  uint64_t seed = 0;
  bool seed_given = false;  // by the caller, not drawn: only then do others get it
  std::vector<std::pair<int32_t, float>> logit_bias;  // token, addend
};

struct Request {
  std::vector<Message> messages;  // a conversation: goes through the chat template
  std::string prompt;             // used as it is if `messages` is empty
  SamplingParams sampling;
  int32_t max_tokens = -1;  // -1 = until the end of the text or of the context
  std::vector<std::string> stop;
  bool ignore_eos = false;
  // Control tokens that messages spell ("<|im_end|>") count as such, as if the template had written
  // them, and may end the turn. Otherwise they are plain text.
  bool parse_special_in_messages = false;
  std::string
      model;  // which one is wanted, by the name that its server gives it; empty: the usual one
  bool local_only = false;  // nothing of this request may leave the machine, whatever else says so
  // Further fields (tools, response_format, ...) that a remote API gets as they are, as the text of a JSON object; empty: none.
  std::string extra = {};
};

enum class StopReason : uint8_t {
  kEndOfText,      // the model ended its turn
  kStopString,     // one of Request::stop came; it is not part of the text
  kLength,         // max_tokens reached
  kContextFull,    // no room for another token
  kCancelled,      // the caller's sink said stop
  kToolCalls,      // the model wants tools called (remote)
  kContentFilter,  // the server withheld the rest (remote)
};

struct Usage {
  int32_t prompt_tokens = 0;
  int32_t completion_tokens = 0;
  double prompt_seconds = 0;       // reading the prompt
  double generation_seconds = 0;   // all tokens after the first
  double first_token_seconds = 0;  // from the call to the first token
  int64_t proposed_tokens = 0;     // guesses that were verified together with a token (speculation)
  int64_t accepted_tokens = 0;     // those that came true
  bool estimated = false;          // token counts are a guess: the server gave none
  double speculation_gain =
      0;  // time that plain decoding would take over the time taken; 0: unknown
};

// A call of a function that the model asks for.
struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments;  // JSON
};

// Who answered, and why it was asked. Empty strings: the local engine, called directly.
struct Served {
  std::string provider;
  std::string model;
  std::string request_id;
  std::string route_reason;
  double cost_usd = 0;
  bool cost_known = false;
};

struct Completion {
  std::string text;
  StopReason reason = StopReason::kEndOfText;
  Usage usage;
  std::string reasoning;  // what a reasoning model wrote before its answer
  std::vector<ToolCall> tool_calls;
  Served served;
  std::vector<std::string> notes;  // what the caller's user should know about the request
};

}  // namespace tern
