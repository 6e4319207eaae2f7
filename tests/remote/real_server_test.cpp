// The client against an OpenAI-compatible server that nobody here wrote. tests/remote/real_server.py starts one and says where it is.

#include <gtest/gtest.h>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "remote/curl_transport.h"
#include "remote/remote_completer.h"
#include "remote/system_clock.h"
#include "tests/remote/client.h"

namespace tern {
namespace {

using namespace testing;  // NOLINT: the support of tests

std::string environment(const char* name) {
  const char* value = ::getenv(name);
  return value == nullptr ? "" : value;
}

// What the server said to who asked it without us, for the same request.
struct Truth {
  std::string url = environment("TERN_TEST_API_URL");
  std::string model = environment("TERN_TEST_API_MODEL");
  std::string text = environment("TERN_TEST_API_TEXT");
  std::string embeddings = environment("TERN_TEST_API_EMBEDDINGS");
  int prompt_tokens = ::atoi(environment("TERN_TEST_API_PROMPT_TOKENS").c_str());
  int completion_tokens = ::atoi(environment("TERN_TEST_API_COMPLETION_TOKENS").c_str());
};

class RealServer : public ::testing::Test {
 protected:
  void SetUp() override {
    if (truth_.url.empty()) {
      GTEST_SKIP() << "tests/remote/real_server.py starts the server that this needs";
    }
  }

  Truth truth_;
  CurlTransport transport_{"tern-test"};
  SystemClock clock_;
  RemoteCompleter asked_{
      transport_, clock_, provider_at(truth_.url), {"sk-of-the-test", "a test", {}}};
};

Request greedy(int32_t max_tokens) {
  Request request = request_of("Once upon a time");
  request.sampling.temperature = 0;
  request.max_tokens = max_tokens;
  return request;
}

TEST_F(RealServer, SaysTheSameStreamedAndPlain) {
  for (const bool plain : {false, true}) {
    std::string text;
    int pieces = 0;
    Sinks sinks;
    sinks.plain = plain;
    sinks.text = [&](std::string_view piece) {
      text += piece;
      ++pieces;
      return true;
    };
    const ApiOutcome outcome =
        asked_.complete(greedy(truth_.completion_tokens), truth_.model, sinks);
    ASSERT_TRUE(outcome) << outcome.error->message;
    EXPECT_EQ(outcome.completion.text, truth_.text);
    EXPECT_EQ(text, truth_.text);
    EXPECT_EQ(outcome.completion.reason, StopReason::kLength);
    EXPECT_FALSE(outcome.completion.usage.estimated);
    EXPECT_EQ(outcome.completion.usage.prompt_tokens, truth_.prompt_tokens);
    EXPECT_EQ(outcome.completion.usage.completion_tokens, truth_.completion_tokens);
    EXPECT_FALSE(outcome.completion.served.request_id.empty());
    EXPECT_EQ(pieces > 1, !plain);
  }
}

TEST_F(RealServer, TakesFurtherSampling) {
  Provider provider = provider_at(truth_.url);
  provider.quirks.more_sampling = true;
  RemoteCompleter liberal(transport_, clock_, provider, {"sk-of-the-test", "a test", {}});
  Request request = greedy(truth_.completion_tokens);
  request.sampling.temperature = 5;  // with one candidate left it is greedy all the same
  request.sampling.top_k = 1;
  request.sampling.min_p = 0.1F;
  const ApiOutcome outcome = liberal.complete(request, truth_.model, {});
  ASSERT_TRUE(outcome) << outcome.error->message;
  EXPECT_EQ(outcome.completion.text, truth_.text);
}

TEST_F(RealServer, ListsItsModel) {
  const ModelsOutcome found = asked_.models();
  ASSERT_FALSE(found.error) << found.error->message;
  ASSERT_EQ(found.models.size(), 1U);
  EXPECT_EQ(found.models[0].id, truth_.model);
}

TEST_F(RealServer, EmbedsTexts) {
  const auto expected =
      nlohmann::json::parse(truth_.embeddings).get<std::vector<std::vector<float>>>();
  const EmbeddingsOutcome found = asked_.embed({"Once upon", "a time"}, truth_.model);
  ASSERT_FALSE(found.error) << found.error->message;
  ASSERT_EQ(found.vectors.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(found.vectors[i].size(), expected[i].size());
    for (size_t j = 0; j < expected[i].size(); ++j) {
      EXPECT_NEAR(found.vectors[i][j], expected[i][j], 1e-5) << i << " " << j;
    }
  }
  EXPECT_NE(found.vectors[0], found.vectors[1]);
  EXPECT_GT(found.usage.prompt_tokens, 0);
}

TEST_F(RealServer, RefusesInClassesThatWeKnow) {
  Request request = greedy(1);
  for (int i = 0; i < 2000; ++i) {
    request.messages[0].content += " and on";
  }
  const ApiOutcome too_long = asked_.complete(request, truth_.model, {});
  ASSERT_TRUE(too_long.error);
  EXPECT_EQ(too_long.error->kind, ApiErrorClass::kContextLength) << too_long.error->message;
  request = greedy(1);
  request.extra = R"({"messages":5})";
  const ApiOutcome senseless = asked_.complete(request, truth_.model, {});
  ASSERT_TRUE(senseless.error);
  EXPECT_EQ(senseless.error->kind, ApiErrorClass::kBadRequest) << senseless.error->message;
  RemoteCompleter stranger(transport_, clock_, provider_at(truth_.url),
                           {"sk-of-somebody-else", "a test", {}});
  const ApiOutcome refused = stranger.complete(greedy(1), truth_.model, {});
  ASSERT_TRUE(refused.error);
  EXPECT_EQ(refused.error->kind, ApiErrorClass::kAuth) << refused.error->message;
}

TEST_F(RealServer, StopsWritingWhenTheCallerHasEnough) {
  Sinks sinks;
  sinks.text = [](std::string_view) { return false; };
  const ApiOutcome outcome = asked_.complete(greedy(-1), truth_.model, sinks);
  ASSERT_TRUE(outcome) << outcome.error->message;
  EXPECT_EQ(outcome.completion.reason, StopReason::kCancelled);
  EXPECT_TRUE(truth_.text.starts_with(outcome.completion.text));
}

}  // namespace
}  // namespace tern
