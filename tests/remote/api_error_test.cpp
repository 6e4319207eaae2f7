// Refusals of servers: every shape of body that providers are known to send, and what each means.

#include "remote/api_error.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace tern {
namespace {

using Kind = ApiErrorClass;

struct Row {  // NOLINT(clang-analyzer-optin.performance.Padding): in the order that it is read
  int32_t status;
  const char* body;
  Kind kind;
  const char* said;  // part of the message
};

// The rows of a relay's error table, of OpenAI, Azure, Anthropic, Google, vLLM, llama-server, Ollama, FastAPI and front proxies.
const Row kRows[] = {
    {401, R"({"error":"Missing API key","message":"Please provide an API key"})", Kind::kAuth,
     "Missing API key: Please"},
    {401, R"({"error":"Invalid API key"})", Kind::kAuth, "Invalid API key"},
    {401, R"({"error":"Invalid API key format","message":"x"})", Kind::kAuth, "format"},
    {401,
     R"({"error":{"message":"Incorrect API key provided.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}})",
     Kind::kAuth, "Incorrect"},
    {401,
     R"({"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}})",
     Kind::kAuth, "x-api-key"},
    {401, "", Kind::kAuth, "401"},
    {402,
     R"({"error":{"type":"insufficient_quota","code":"daily_cost_limit_exceeded","message":"Daily limit"},"currentCost":5.1,"costLimit":5,"resetAt":"2026-01-01T16:00:00.000Z"})",
     Kind::kQuota, "2026-01-01 16:00 UTC"},
    {402,
     R"({"error":{"type":"insufficient_quota","code":"weekly_opus_cost_limit_exceeded","message":"m"}})",
     Kind::kQuota, "m"},
    {402, R"({"error":{"code":"total_cost_limit_exceeded","message":"m"}})", Kind::kQuota, "m"},
    {402, "Payment Required", Kind::kQuota, "Payment Required"},
    {403, R"({"error":"Client not allowed","message":"Your client is not allowed"})",
     Kind::kPermission, "Client not allowed"},
    {403, R"({"error":{"type":"permission_denied","message":"no"}})", Kind::kPermission, "no"},
    {403,
     R"({"error":{"type":"forbidden","code":"model_not_allowed","message":"Model not found in your plan"}})",
     Kind::kPermission, "plan"},
    {403, R"({"error":"upstream_rate_limited"})", Kind::kRateLimit, "upstream_rate_limited"},
    {403, "<html><head><title>403 Forbidden</title></head></html>", Kind::kPermission,
     "403 Forbidden"},
    {404,
     R"({"error":{"type":"invalid_request_error","code":"model_not_found","message":"The model `x` does not exist"}})",
     Kind::kModelNotFound, "tern remote models"},
    {404, R"({"detail":"Not Found"})", Kind::kModelNotFound, "base URL"},
    {404,
     R"({"error":{"message":"model \"x\" not found, try pulling it first","type":"api_error","param":null,"code":null}})",
     Kind::kModelNotFound, "pulling"},
    {404,
     R"({"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","param":null,"code":404})",
     Kind::kModelNotFound, "does not exist"},
    {408, R"({"error":"Request timeout"})", Kind::kTimeout, "Request timeout"},
    {409, R"({"error":"conflict"})", Kind::kServer, "conflict"},
    {413, "<html><title>413 Request Entity Too Large</title></html>", Kind::kContextLength,
     "Too Large"},
    {429, R"({"error":"Concurrency limit exceeded","message":"wait"})", Kind::kRateLimit,
     "Concurrency"},
    {429, R"({"error":"Queue overloaded"})", Kind::kRateLimit, "Queue"},
    {429,
     R"({"error":"Rate limit exceeded","remainingMinutes":7,"resetAt":"2026-01-01T00:07:00Z"})",
     Kind::kRateLimit, "00:07 UTC"},
    {429,
     R"({"error":{"code":"rate_limit_exceeded","type":"rate_limit","message":"m","param":null,"retry_after":1.2,"request_id":"hs_req_12"}})",
     Kind::kRateLimit, "hs_req_12"},
    {429, R"({"error":{"type":"rate_limit_error","message":"m"}})", Kind::kRateLimit, "m"},
    {429,
     R"({"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}})",
     Kind::kQuota, "current quota"},
    {429,
     R"({"error":{"message":"Rate limit reached for gpt-x: Limit 3, Used 3","type":"requests","param":null,"code":"rate_limit_exceeded"}})",
     Kind::kRateLimit, "Limit 3"},
    {429,
     R"({"error":{"message":"too many tokens in the context window of one minute","type":"tokens"}})",
     Kind::kRateLimit, "minute"},
    {429,
     R"([{"error":{"code":429,"message":"Resource has been exhausted","status":"RESOURCE_EXHAUSTED"}}])",
     Kind::kRateLimit, "exhausted"},
    {429, "", Kind::kRateLimit, "429"},
    {400,
     R"({"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}})",
     Kind::kContextLength, "8192"},
    {400,
     R"({"object":"error","message":"This model's maximum context length is 2048 tokens","type":"BadRequestError","code":400})",
     Kind::kContextLength, "2048"},
    {400,
     R"({"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error","n_ctx":4096}})",
     Kind::kContextLength, "context size"},
    {400,
     R"({"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}})",
     Kind::kContextLength, "210000"},
    {400,
     R"({"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}})",
     Kind::kQuota, "credit"},
    {400,
     R"({"error":{"code":"content_policy_violation","message":"m","type":"invalid_request_error"}})",
     Kind::kContentPolicy, "m"},
    {400,
     R"({"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","code":"content_filter","status":400}})",
     Kind::kContentPolicy, "filtered"},
    {400,
     R"({"error":{"message":"Unsupported value: 'temperature'","type":"invalid_request_error","param":"temperature","code":"unsupported_value"}})",
     Kind::kBadRequest, "temperature"},
    {400,
     R"([{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}])",
     Kind::kAuth, "not valid"},
    {422,
     R"({"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]})",
     Kind::kBadRequest, "stream_options"},
    {405, "Method Not Allowed", Kind::kBadRequest, "Method"},
    {451, "", Kind::kContentPolicy, "451"},
    {500,
     R"({"error":"Internal server error","message":"boom","requestId":"r-77","timestamp":"2026-01-01"})",
     Kind::kServer, "r-77"},
    {500,
     R"({"error":{"message":"model not found in cache, rate limit of context length","type":"server_error"}})",
     Kind::kServer, "cache"},
    {502, "<html>\r\n<head><TITLE>502 Bad Gateway</TITLE></head>\r\n<body>nginx</body></html>",
     Kind::kServer, "502 Bad Gateway"},
    {502, "<!DOCTYPE html><body>no title", Kind::kServer, "without a title"},
    {503, R"({"error":"Upstream stream error"})", Kind::kServer, "stream error"},
    {504, "", Kind::kTimeout, "504"},
    {524, "error code: 524", Kind::kTimeout, "524"},
    {529, R"({"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}})",
     Kind::kServer, "Overloaded"},
    {302, "", Kind::kProtocol, "redirects"},
    // In the middle of an answer that began well.
    {200, R"({"error":{"code":429,"message":"Provider returned error"}})", Kind::kRateLimit,
     "Provider"},
    {200, R"({"error":{"code":"server_error","message":"The server had an error"}})", Kind::kServer,
     "had an error"},
    {200, R"({"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}})",
     Kind::kServer, "Overloaded"},
    {200, R"({"error":{"type":"invalid_request_error","message":"bad"}})", Kind::kBadRequest,
     "bad"},
    {200, R"({"error":"something"})", Kind::kServer, "something"},
    // Bodies of no shape at all.
    {500, "{\"error\":", Kind::kServer, "{\"error\":"},
    {500, "[]", Kind::kServer, "[]"},
    {500, "null", Kind::kServer, "null"},
    {500, R"({"error":{"message":{"nested":1}}})", Kind::kServer, "nested"},
    {400, R"({"error":null})", Kind::kBadRequest, "null"},
};

const ApiKey kKey{"cr_0123456789abcdefwxyz", "the environment variable HOLYSHEEP_API_KEY", {}};

ApiError refused(int32_t status, std::string_view body, const HttpHeaders& headers = {},
                 const ApiKey& key = kKey) {
  HttpResponse head;
  head.status = status;
  head.headers = headers;
  const std::string provider = "holysheep";
  const std::string model = "deepseek-v3.2";
  return refusal({provider, key, model, 1'767'225'600'000}, head, read_error_body(body));
}

TEST(ApiError, ClassifiesEveryRowOfTheTable) {
  for (const Row& row : kRows) {
    const ApiError error = refused(row.status, row.body);
    EXPECT_STREQ(name_of(error.kind), name_of(row.kind)) << row.status << " " << row.body;
    EXPECT_NE(error.message.find(row.said), std::string::npos) << error.message;
    EXPECT_TRUE(error.message.starts_with("holysheep: ")) << error.message;
    EXPECT_NE(error.message.find(std::to_string(row.status)), std::string::npos) << error.message;
    EXPECT_EQ(error.status, row.status);
  }
}

TEST(ApiError, SaysProviderStatusRequestAndWhatToDo) {
  EXPECT_EQ(
      refused(401, R"({"error":"Invalid API key"})", {{"X-Request-ID", "req-9"}}).message,
      "holysheep: the key was refused (401, request req-9): Invalid API key. It was sent as "
      "\"Authorization: Bearer cr_0...wxyz\", from the environment variable HOLYSHEEP_API_KEY. Is "
      "it a key of this provider, complete, and still valid?");
  EXPECT_NE(refused(401, "", {}, {}).message.find("No key was sent"), std::string::npos);
  EXPECT_EQ(refused(429, R"({"error":"Queue timeout"})", {{"Retry-After", "30"}}).message,
            "holysheep: too many requests (429): Queue timeout. The server asks to wait 30 s. "
            "Send fewer at a time, or ask another provider.");
  const ApiError model = refused(404, R"({"error":{"code":"model_not_found"}})");
  EXPECT_NE(model.message.find("Asked for was \"deepseek-v3.2\""), std::string::npos)
      << model.message;
  const ApiError quota = refused(402, kRows[6].body);
  EXPECT_EQ(quota.resets_at, 1'767'225'600'000 + 16 * 3'600'000);
  EXPECT_EQ(quota.retry_after_ms, 16 * 3'600'000);
}

TEST(ApiError, ShowsNoKeyAndNothingThatTerminalsObey) {
  const std::string other = "sk-proj-ABCDEFGHIJKLMNOP1234";
  const ApiError error = refused(
      401, R"({"error":"Bad key cr_0123456789abcdefwxyz or )" + other + R"(\u001b[31m\nred"})");
  for (const std::string& secret : {kKey.value, other, std::string("\x1b"), std::string("\n")}) {
    EXPECT_EQ(error.message.find(secret), std::string::npos) << error.message;
  }
  EXPECT_NE(error.message.find("Bad key cr_0...wxyz or sk-p...1234 [31m red"), std::string::npos)
      << error.message;
  // Controls of Latin-1, and bytes that are no UTF-8.
  const std::string odd = refused(500,
                                  "a\xC2\x9B"
                                  "2J b\xFF c\xC2\xA0"
                                  "d")
                              .message;
  EXPECT_NE(odd.find("a 2J b\xEF\xBF\xBD c\xC2\xA0"
                     "d"),
            std::string::npos)
      << odd;
  // An id is no place for them either.
  EXPECT_EQ(refused(500, "", {{"X-Request-Id", "a\x1b[2J"}}).request_id, "");
}

TEST(ApiError, KeepsTwoKilobytesOfWordsWholeCharactersOnly) {
  for (const std::string& filler :
       {std::string("x"), std::string("\xC3\xA4"), std::string("\xF0\x9F\x8C\x8D")}) {
    std::string body = "y";
    while (body.size() < 100'000) {
      body += filler;
    }
    const ServerError said = read_error_body(body);
    EXPECT_LE(said.message.size(), kMostWordsBytes);
    EXPECT_GE(said.message.size(), kMostWordsBytes - 4);
    // nlohmann::json refuses to write what is not UTF-8.
    EXPECT_NO_THROW(nlohmann::json(said.message).dump());
    EXPECT_TRUE(refused(500, body).message.size() < kMostWordsBytes + 200);
  }
}

TEST(ApiError, TellsWhatFailedOnTheWay) {
  const std::string provider = "openai";
  const std::string model;
  const ErrorPlace place{provider, kKey, model, 0};
  HttpOutcome outcome;
  outcome.failure = HttpFailure::kTimeout;
  outcome.message = "api.openai.com: no answer within 60 s.";
  const ApiError late = transport_error(place, outcome);
  EXPECT_EQ(late.kind, Kind::kTimeout);
  EXPECT_EQ(late.message,
            "openai: api.openai.com: no answer within 60 s. Try again, allow more time, or ask "
            "another provider.");
  EXPECT_EQ(late.cause, "openai: api.openai.com: no answer within 60 s.");
  outcome.response.status = 200;
  outcome.response.headers = {{"x-request-id", "r-1"}};
  EXPECT_EQ(transport_error(place, outcome).cause,
            "openai: api.openai.com: no answer within 60 s (200, request r-1).");
  for (const HttpFailure failure : {HttpFailure::kResolve, HttpFailure::kConnect, HttpFailure::kTls,
                                    HttpFailure::kBroken, HttpFailure::kRequest}) {
    outcome.failure = failure;
    EXPECT_EQ(transport_error(place, outcome).kind, Kind::kNetwork);
  }
  outcome.failure = HttpFailure::kCancelled;
  EXPECT_EQ(transport_error(place, outcome).kind, Kind::kCancelled);
}

}  // namespace
}  // namespace tern
