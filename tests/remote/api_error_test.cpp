// Refusals of servers: every shape of body that providers are known to send, and what each means.

#include "remote/api_error.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/remote/error_rows.h"

namespace tern {
namespace {

using testing::kErrorRows;
using Kind = ApiErrorClass;

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
  for (const testing::ErrorRow& row : kErrorRows) {
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
  const ApiError quota = refused(402, kErrorRows[6].body);
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
