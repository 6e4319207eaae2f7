// From a refusal to its class. Codes decide before words, and words before the status.

#include <algorithm>

#include "engine/base/ascii.h"
#include "remote/api_error.h"

namespace tern {
namespace {

using Kind = ApiErrorClass;

struct Named {
  std::string_view name;
  Kind kind;
};

// Codes and types that decide whatever the status is, in lower case. Those of quotas stand before
// those of rates: OpenAI gives both under 429. Numbers are Zhipu's.
constexpr Named kCodes[] = {
    {"context_length_exceeded", Kind::kContextLength},
    {"context_window_exceeded", Kind::kContextLength},
    {"contextwindowexceedederror", Kind::kContextLength},
    {"model_context_window_exceeded", Kind::kContextLength},
    {"exceed_context_size_error", Kind::kContextLength},
    {"string_above_max_length", Kind::kContextLength},
    {"prompt_too_long", Kind::kContextLength},
    {"input_too_long", Kind::kContextLength},
    {"1261", Kind::kContextLength},
    {"content_policy_violation", Kind::kContentPolicy},
    {"contentpolicyviolationerror", Kind::kContentPolicy},
    {"responsibleaipolicyviolation", Kind::kContentPolicy},
    {"content_filter", Kind::kContentPolicy},
    {"content_moderation", Kind::kContentPolicy},
    {"moderation_blocked", Kind::kContentPolicy},
    {"invalid_prompt", Kind::kContentPolicy},
    {"prompt_blocked", Kind::kContentPolicy},
    {"sensitive_words_detected", Kind::kContentPolicy},
    {"prohibited_content", Kind::kContentPolicy},
    {"data_inspection_failed", Kind::kContentPolicy},
    {"datainspectionfailed", Kind::kContentPolicy},
    {"1301", Kind::kContentPolicy},
    {"insufficient_quota", Kind::kQuota},
    {"insufficient_balance", Kind::kQuota},
    {"insufficient_credits", Kind::kQuota},
    {"insufficient_user_quota", Kind::kQuota},
    {"exceeded_current_quota_error", Kind::kQuota},
    {"pre_consume_token_quota_failed", Kind::kQuota},
    {"billing_hard_limit_reached", Kind::kQuota},
    {"billing_not_active", Kind::kQuota},
    {"billing_error", Kind::kQuota},
    {"budget_exceeded", Kind::kQuota},
    {"quota_exceeded", Kind::kQuota},
    {"arrearage", Kind::kQuota},
    {"1113", Kind::kQuota},
    {"rate_limit_exceeded", Kind::kRateLimit},
    {"rate_limit_error", Kind::kRateLimit},
    {"rate_limit_reached_error", Kind::kRateLimit},
    {"rate_limit", Kind::kRateLimit},
    {"rate_limited", Kind::kRateLimit},
    {"ratelimiterror", Kind::kRateLimit},
    {"ratelimitreached", Kind::kRateLimit},
    {"upstream_rate_limited", Kind::kRateLimit},
    {"too_many_requests", Kind::kRateLimit},
    {"toomanyrequests", Kind::kRateLimit},
    {"resource_exhausted", Kind::kRateLimit},
    {"engine_overloaded_error", Kind::kRateLimit},
    {"1302", Kind::kRateLimit},
    {"1303", Kind::kRateLimit},
    {"1305", Kind::kRateLimit},
    {"model_not_found", Kind::kModelNotFound},
    {"modelnotfound", Kind::kModelNotFound},
    {"model_not_exist", Kind::kModelNotFound},
    {"model_decommissioned", Kind::kModelNotFound},
    {"deploymentnotfound", Kind::kModelNotFound},
    {"unknown_model", Kind::kModelNotFound},
    {"invalid_model", Kind::kModelNotFound},
    {"unsupported_model", Kind::kModelNotFound},
    {"1211", Kind::kModelNotFound},
    {"model_not_allowed", Kind::kPermission},
    {"permission_denied", Kind::kPermission},
    {"permission_error", Kind::kPermission},
    {"accessdeniedexception", Kind::kPermission},
    {"unsupported_country_region_territory", Kind::kPermission},
    {"invalid_api_key", Kind::kAuth},
    {"invalidapikey", Kind::kAuth},
    {"api_key_invalid", Kind::kAuth},
    {"incorrect_api_key_error", Kind::kAuth},
    {"missing_api_key", Kind::kAuth},
    {"authentication_error", Kind::kAuth},
    {"authenticationerror", Kind::kAuth},
    {"invalid_authentication_error", Kind::kAuth},
    {"unrecognizedclientexception", Kind::kAuth},
    {"unauthorized", Kind::kAuth},
    {"unauthenticated", Kind::kAuth},
    {"1000", Kind::kAuth},
    {"1001", Kind::kAuth},
    {"1002", Kind::kAuth},
    {"1003", Kind::kAuth},
};

// Codes and types that decide where no status does: in the middle of an answer that began with 200.
constexpr Named kCodesWithoutStatus[] = {
    {"invalid_request_error", Kind::kBadRequest},
    {"not_found_error", Kind::kModelNotFound},
    {"request_timeout", Kind::kTimeout},
    {"timeout", Kind::kTimeout},
    {"timeout_error", Kind::kTimeout},
};

// Words of messages, in lower case, for servers that have no codes: all of an entry's parts must be
// there. The first entry that fits decides. Beside OpenAI's and Anthropic's they are those of
// DeepSeek, DashScope (Qwen), Zhipu, Moonshot, MiniMax, Mistral, Groq, Together, Fireworks,
// OpenRouter, xAI, Azure, Gemini, Bedrock, Cohere, vLLM, SGLang, TGI, llama.cpp, Ollama, LM Studio,
// LiteLLM and of the relays that stand behind HolySheep and its like.
struct Words {
  std::string_view part;
  std::string_view other;  // empty: `part` is enough
  Kind kind;
};

constexpr Words kWords[] = {
    // Models that are not there.
    {"model", "not found", Kind::kModelNotFound},
    {"model", "does not exist", Kind::kModelNotFound},
    {"model not exist", "", Kind::kModelNotFound},
    {"invalid model name", "", Kind::kModelNotFound},
    {"invalid model:", "", Kind::kModelNotFound},
    {"not a valid model", "", Kind::kModelNotFound},
    {"model identifier is invalid", "", Kind::kModelNotFound},
    {"unknown model", "", Kind::kModelNotFound},
    {"no such model", "", Kind::kModelNotFound},
    {"unsupported model", "", Kind::kModelNotFound},
    {"model is not supported", "", Kind::kModelNotFound},
    {"unable to access model", "", Kind::kModelNotFound},
    {"model", "decommissioned", Kind::kModelNotFound},
    {"deployment for this resource does not exist", "", Kind::kModelNotFound},
    {"模型不存在", "", Kind::kModelNotFound},
    {"无可用渠道", "", Kind::kModelNotFound},
    {"不支持的模型", "", Kind::kModelNotFound},
    // Prompts that are too long.
    {"maximum context", "", Kind::kContextLength},
    {"context length", "", Kind::kContextLength},
    {"context window", "", Kind::kContextLength},
    {"context size", "", Kind::kContextLength},
    {"context limit", "", Kind::kContextLength},
    {"contextwindowexceeded", "", Kind::kContextLength},
    {"context_length", "", Kind::kContextLength},
    {"prompt is too long", "", Kind::kContextLength},
    {"prompt too long", "", Kind::kContextLength},
    {"input is too long", "", Kind::kContextLength},
    {"input too long", "", Kind::kContextLength},
    {"input length too long", "", Kind::kContextLength},
    {"input token length too long", "", Kind::kContextLength},
    {"input is too large to process", "", Kind::kContextLength},
    {"too many input tokens", "", Kind::kContextLength},
    {"too many tokens", "", Kind::kContextLength},
    {"range of input length", "", Kind::kContextLength},
    {"input length", "exceed", Kind::kContextLength},
    {"prompt length", "exceed", Kind::kContextLength},
    {"prompt exceeds", "", Kind::kContextLength},
    {"input exceeds", "", Kind::kContextLength},
    {"input token", "exceed", Kind::kContextLength},
    {"token count", "exceed", Kind::kContextLength},
    {"prompt token", "exceed", Kind::kContextLength},
    {"input token count", "only supports", Kind::kContextLength},
    {"tokens", "exceeds the model's maximum", Kind::kContextLength},
    {"tokens", "exceed the model's maximum", Kind::kContextLength},
    {"exceeded model token limit", "", Kind::kContextLength},
    {"token limit exceeded", "", Kind::kContextLength},
    {"tokens limit exceeded", "", Kind::kContextLength},
    {"exceeds token limit", "", Kind::kContextLength},
    {"maximum number of tokens allowed", "", Kind::kContextLength},
    {"maximum prompt length", "", Kind::kContextLength},
    {"maximum model length", "", Kind::kContextLength},
    {"maximum sequence length", "", Kind::kContextLength},
    {"model's maximum length", "", Kind::kContextLength},
    {"max message tokens", "", Kind::kContextLength},
    {"max_model_len", "", Kind::kContextLength},
    {"max_seq_len", "", Kind::kContextLength},
    {"reduce the length of the", "", Kind::kContextLength},
    {"reduce your prompt", "", Kind::kContextLength},
    {"`inputs` tokens + `max_new_tokens`", "", Kind::kContextLength},
    {"`inputs` must have less than", "", Kind::kContextLength},
    {"total number of tokens in the prompt", "", Kind::kContextLength},
    {"string too long", "", Kind::kContextLength},
    {"上下文长度", "", Kind::kContextLength},
    {"上下文窗口", "", Kind::kContextLength},
    {"最大上下文", "", Kind::kContextLength},
    {"超出上下文", "", Kind::kContextLength},
    {"输入长度", "", Kind::kContextLength},
    {"输入过长", "", Kind::kContextLength},
    {"超长", "", Kind::kContextLength},
    {"超过最大长度", "", Kind::kContextLength},
    {"超出最大长度", "", Kind::kContextLength},
    {"超过模型最大", "", Kind::kContextLength},
    {"超出模型最大", "", Kind::kContextLength},
    {"token", "超限", Kind::kContextLength},
    // Texts that nobody wants to answer.
    {"content policy", "", Kind::kContentPolicy},
    {"content management policy", "", Kind::kContentPolicy},
    {"content filtering policy", "", Kind::kContentPolicy},
    {"content moderation", "", Kind::kContentPolicy},
    {"contentpolicyviolation", "", Kind::kContentPolicy},
    {"content exists risk", "", Kind::kContentPolicy},
    {"inappropriate content", "", Kind::kContentPolicy},
    {"considered high risk", "", Kind::kContentPolicy},
    {"safety system", "", Kind::kContentPolicy},
    {"usage polic", "", Kind::kContentPolicy},
    {"input was flagged", "", Kind::kContentPolicy},
    {"prompt was flagged", "", Kind::kContentPolicy},
    {"new_sensitive", "", Kind::kContentPolicy},
    {"sensitive content", "", Kind::kContentPolicy},
    {"sensitive words", "", Kind::kContentPolicy},
    {"prohibited content", "", Kind::kContentPolicy},
    {"prohibited_content", "", Kind::kContentPolicy},
    {"responsible ai policy", "", Kind::kContentPolicy},
    {"敏感", "", Kind::kContentPolicy},
    {"不安全", "", Kind::kContentPolicy},
    {"违规", "", Kind::kContentPolicy},
    {"内容安全", "", Kind::kContentPolicy},
    {"风险内容", "", Kind::kContentPolicy},
    // Money.
    {"exceeded your current quota", "", Kind::kQuota},
    {"insufficient quota", "", Kind::kQuota},
    {"insufficient balance", "", Kind::kQuota},
    {"insufficient credit", "", Kind::kQuota},
    {"insufficient funds", "", Kind::kQuota},
    {"credit balance is too low", "", Kind::kQuota},
    {"credit limit", "", Kind::kQuota},
    {"out of credits", "", Kind::kQuota},
    {"used all available credits", "", Kind::kQuota},
    {"monthly included credits", "", Kind::kQuota},
    {"cost limit", "", Kind::kQuota},
    {"spending limit", "", Kind::kQuota},
    {"budget has been exceeded", "", Kind::kQuota},
    {"exceededbudget", "", Kind::kQuota},
    {"over budget", "", Kind::kQuota},
    {"account is in good standing", "", Kind::kQuota},
    {"余额不足", "", Kind::kQuota},
    {"额度不足", "", Kind::kQuota},
    {"额度已用", "", Kind::kQuota},
    {"预扣费", "", Kind::kQuota},
    {"欠费", "", Kind::kQuota},
    // Haste.
    {"rate limit", "", Kind::kRateLimit},
    {"rate_limit", "", Kind::kRateLimit},
    {"ratelimit", "", Kind::kRateLimit},
    {"too many requests", "", Kind::kRateLimit},
    {"concurrency limit", "", Kind::kRateLimit},
    {"throttl", "", Kind::kRateLimit},
    {"请求过于频繁", "", Kind::kRateLimit},
    {"频率限制", "", Kind::kRateLimit},
    {"并发数", "", Kind::kRateLimit},
    {"限流", "", Kind::kRateLimit},
    // Keys.
    {"invalid api key", "", Kind::kAuth},
    {"invalid api-key", "", Kind::kAuth},
    {"invalid_api_key", "", Kind::kAuth},
    {"incorrect api key", "", Kind::kAuth},
    {"missing api key", "", Kind::kAuth},
    {"no api key", "", Kind::kAuth},
    {"api key not valid", "", Kind::kAuth},
    {"api key not found", "", Kind::kAuth},
    {"api key expired", "", Kind::kAuth},
    {"api key is invalid", "", Kind::kAuth},
    {"invalid authentication", "", Kind::kAuth},
    {"authentication error", "", Kind::kAuth},
    {"authentication fail", "", Kind::kAuth},
    // LiteLLM without a database, asked with a key that is not its master key.
    {"no connected db", "", Kind::kAuth},
    {"invalid proxy server token", "", Kind::kAuth},
    {"security token included in the request is invalid", "", Kind::kAuth},
    {"无效的令牌", "", Kind::kAuth},
    {"令牌已过期", "", Kind::kAuth},
    {"令牌验证失败", "", Kind::kAuth},
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

bool has(const std::string& message, std::string_view part) {
  return message.find(part) != std::string::npos;
}

// Requests that this server takes from nobody, whatever their codes say: a limit of tokens a minute
// that is below the request (told as a rate limit, though no wait helps), and more tokens of answer
// than the model gives (not a matter of the prompt).
bool exceeds_what_the_server_takes(const std::string& message) {
  if (has(message, "request too large for") || has(message, "request_too_large")) {
    return true;
  }
  const bool answer = has(message, "max_tokens") || has(message, "max_completion_tokens") ||
                      has(message, "max_new_tokens");
  const bool limit = has(message, "too large") || has(message, "supports at most") ||
                     has(message, "less than or equal") || has(message, "range of max_tokens");
  const bool prompt = has(message, "context") || has(message, "input") || has(message, "prompt");
  return answer && limit && !prompt;
}

std::optional<Kind> by_words(const std::string& message) {
  const auto found = std::ranges::find_if(kWords, [&](const Words& words) {
    return has(message, words.part) && has(message, words.other);
  });
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
  // A redirect is not followed: it would take the prompt, if not the key, to a place that nobody
  // named. 413 without words on a context is a front proxy's limit of bytes, which says nothing of
  // the model: other servers have other limits.
  return status >= 400 ? Kind::kBadRequest : status >= 300 ? Kind::kProtocol : Kind::kServer;
}

}  // namespace

ApiErrorClass classify(int32_t status, const ServerError& said) {
  // An error in the middle of a good answer: the body may name what the status would have been.
  const int32_t meant = status / 100 == 2 && said.status != 0 ? said.status : status;
  const std::string code = lower(said.code);
  const std::string type = lower(said.type);
  const std::string message = lower(said.message);
  if (meant < 500 && meant != 401 && exceeds_what_the_server_takes(message)) {
    return Kind::kBadRequest;
  }
  if (code.ends_with("_cost_limit_exceeded")) {  // daily_, total_, weekly_opus_
    return Kind::kQuota;
  }
  if (code.starts_with("throttling") || type.starts_with("throttling")) {  // DashScope's, Bedrock's
    return Kind::kRateLimit;
  }
  if (const auto kind = by_code(kCodes, code, type)) {
    return *kind;
  }
  const bool no_status = meant / 100 == 2;
  // A failing server's words about anything else are not to be believed.
  const auto kind = meant >= 500 ? std::nullopt : by_words(message);
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

}  // namespace tern
