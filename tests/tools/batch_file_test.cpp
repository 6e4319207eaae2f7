// Lines of OpenAI's batch files, and what is kept of a batch that was stopped.

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temp_folder.h"
#include "tools/batch_journal.h"
#include "tools/batch_line.h"

namespace tern::cli {
namespace {

using Json = nlohmann::json;

Result<BatchRequest> parse(const std::string& body, const std::string& url = "/v1/chat/completions",
                           const Request& usual = {}) {
  return parse_batch_line(
      R"({"custom_id":"a","method":"POST","url":")" + url + R"(","body":)" + body + "}", usual);
}

std::string complaint(const std::string& line) {
  const auto asked = parse_batch_line(line, {});
  return asked ? "" : asked.error().message;
}

TEST(BatchLine, TakesWhatOpenAisExampleHolds) {
  // The example of OpenAI's guide to its batch API.
  const auto asked = parse_batch_line(
      R"({"custom_id": "request-1", "method": "POST", "url": "/v1/chat/completions", "body":
      {"model": "gpt-3.5-turbo-0125", "messages": [{"role": "system", "content": "You are a helpful assistant."},
      {"role": "user", "content": "Hello world!"}],"max_tokens": 1000}})",
      {});
  ASSERT_TRUE(asked) << asked.error().message;
  EXPECT_EQ(asked->custom_id, "request-1");
  EXPECT_TRUE(asked->chat);
  const Request& request = asked->request;
  EXPECT_EQ(request.model, "gpt-3.5-turbo-0125");
  ASSERT_EQ(request.messages.size(), 2U);
  EXPECT_EQ(request.messages[1].role, "user");
  EXPECT_EQ(request.messages[1].content, "Hello world!");
  EXPECT_EQ(request.max_tokens, 1000);
  EXPECT_EQ(request.extra, "");
}

TEST(BatchLine, MembersReplaceTheCommandLine) {
  Request usual;
  usual.max_tokens = 7;
  usual.stop = {"END"};
  usual.sampling.seed = 5;
  const auto plain =
      parse(R"({"messages":[{"role":"user","content":"x"}]})", "/v1/chat/completions", usual);
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->request.max_tokens, 7);
  EXPECT_EQ(plain->request.stop, std::vector<std::string>{"END"});
  EXPECT_EQ(plain->request.sampling.seed, 5U);
  EXPECT_FALSE(plain->request.sampling.seed_given);

  const auto full = parse(
      R"({"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}],
      "temperature":0.25,"top_p":0.5,"presence_penalty":-1,"frequency_penalty":1.5,"seed":-1,
      "max_tokens":3,"max_completion_tokens":4,"stop":["x","","y"],"logit_bias":{"17":-100},"stream":false,
      "user":"u","n":1,"tools":[{"type":"function"}],"stop_sequences":null})",
      "/v1/chat/completions", usual);
  ASSERT_TRUE(full) << full.error().message;
  const Request& request = full->request;
  EXPECT_EQ(request.messages[0].content, "ab");
  EXPECT_FLOAT_EQ(request.sampling.temperature, 0.25F);
  EXPECT_FLOAT_EQ(request.sampling.top_p, 0.5F);
  EXPECT_FLOAT_EQ(request.sampling.presence_penalty, -1);
  EXPECT_FLOAT_EQ(request.sampling.frequency_penalty, 1.5F);
  EXPECT_EQ(request.sampling.seed, 0xFFFFFFFFFFFFFFFFU);
  EXPECT_TRUE(request.sampling.seed_given);
  EXPECT_EQ(request.max_tokens, 4);
  EXPECT_EQ(request.stop, (std::vector<std::string>{"x", "y"}));
  ASSERT_EQ(request.sampling.logit_bias.size(), 1U);
  EXPECT_EQ(request.sampling.logit_bias[0].first, 17);
  // What the engine does not know goes to a provider as it is.
  EXPECT_EQ(Json::parse(request.extra)["tools"], Json::parse(R"([{"type":"function"}])"));
}

TEST(BatchLine, TurnsWithToolCallsKeepTheirMembers) {
  const auto asked = parse(
      R"({"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"c"}]},
      {"role":"tool","content":"42","tool_call_id":"c"}]})");
  ASSERT_TRUE(asked) << asked.error().message;
  const Json first = Json::parse(asked->request.messages[0].extra);
  EXPECT_EQ(first["tool_calls"][0]["id"], "c");
  EXPECT_TRUE(first.contains("content") && first["content"].is_null());
  EXPECT_EQ(Json::parse(asked->request.messages[1].extra)["tool_call_id"], "c");
}

TEST(BatchLine, TextCompletions) {
  const auto asked = parse(R"({"model":"m","prompt":"Once","max_tokens":2})", "/v1/completions");
  ASSERT_TRUE(asked);
  EXPECT_FALSE(asked->chat);
  EXPECT_EQ(asked->request.prompt, "Once");
  EXPECT_TRUE(asked->request.messages.empty());
}

TEST(BatchLine, SaysWhatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "no JSON"},
      {"[1]", "expected a JSON object"},
      {R"({"body":{}})", "custom_id"},
      {R"({"custom_id":"","body":{}})", "custom_id"},
      {R"({"custom_id":7,"body":{}})", "custom_id"},
      {R"({"custom_id":"a","method":"GET","body":{}})", "method: expected POST"},
      {R"({"custom_id":"a","url":"/v1/embeddings","body":{}})", "url: expected"},
      {R"({"custom_id":"a"})", "body: expected"},
      {R"({"custom_id":"a","body":{}})", "body.messages: expected a list"},
      {R"({"custom_id":"a","body":{"messages":[]}})", "at least one message"},
      {R"({"custom_id":"a","body":{"messages":[{"content":"x"}]}})", "an object with a role"},
      {R"({"custom_id":"a","body":{"messages":[{"role":"user"}]}})", "messages[0].content"},
      {R"({"custom_id":"a","body":{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}})",
       "parts of the form"},
      {R"({"custom_id":"a","body":{"messages":[{"role":"user","content":"x"}],"temperature":"hot"}})",
       "body.temperature: expected a number from 0 to 2, found \"hot\""},
      {R"({"custom_id":"a","body":{"messages":[{"role":"user","content":"x"}],"temperature":1e999}})",
       "no JSON"},
      {R"({"custom_id":"a","body":{"messages":[{"role":"user","content":"x"}],"max_tokens":1.5}})",
       "body.max_tokens: expected a whole number"},
      {R"({"custom_id":"a","body":{"messages":[{"role":"user","content":"x"}],"seed":18446744073709551615}})",
       "body.seed"},
      {R"({"custom_id":"a","body":{"messages":[{"role":"user","content":"x"}],"stop":[1]}})",
       "body.stop"},
      {R"({"custom_id":"a","body":{"messages":[{"role":"user","content":"x"}],"logit_bias":{"x":1}}})",
       "body.logit_bias"},
      {R"({"custom_id":"a","body":{"messages":[{"role":"user","content":"x"}],"n":2}})",
       "body.n: expected 1, found 2"},
      {R"({"custom_id":"a","body":{"messages":[{"role":"user","content":"x"}],"stream":true}})",
       "a batch does not stream"},
  };
  for (const auto& [line, words] : cases) {
    EXPECT_NE(complaint(line).find(words), std::string::npos) << line << ": " << complaint(line);
  }
  EXPECT_EQ(custom_id_of(R"({"custom_id":"a","body":7})"), "a");
  EXPECT_EQ(custom_id_of("nonsense"), "");
}

TEST(BatchLine, AnswersAsOpenAiWritesThem) {
  BatchRequest asked;
  asked.custom_id = "request-1";
  Completion completion;
  completion.text = "Hi";
  completion.reason = StopReason::kLength;
  completion.usage.prompt_tokens = 3;
  completion.usage.completion_tokens = 2;
  completion.served.model = "m";
  completion.served.request_id = "r";
  const Json line = answer_line(asked, completion, 4, 1700000000);
  EXPECT_EQ(line["custom_id"], "request-1");
  EXPECT_TRUE(line["error"].is_null());
  EXPECT_EQ(line["response"]["status_code"], 200);
  const Json& body = line["response"]["body"];
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["created"], 1700000000);
  EXPECT_EQ(body["choices"][0]["message"], Json({{"role", "assistant"}, {"content", "Hi"}}));
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(body["usage"]["total_tokens"], 5);

  const Json failed = error_line("x", {"rate_limit", "words", 429}, 5);
  EXPECT_TRUE(failed["response"].is_null());
  EXPECT_EQ(failed["error"]["code"], "rate_limit");
  EXPECT_EQ(failed["error"]["status"], 429);
}

const std::vector<std::string> kKeys = {"k0", "k1", "k2"};

TEST(BatchJournal, GoesOnWhereItWasStopped) {
  const tern::testing::TempFolder folder;
  const auto path = folder / "out.part";
  {
    auto journal = BatchJournal::open(path, kKeys);
    ASSERT_TRUE(journal) << journal.error().message;
    EXPECT_EQ(journal->resumed(), 0U);
    ASSERT_TRUE(journal->add(2, "two \"quoted\"\n", false));
    ASSERT_TRUE(journal->add(1, "failed", true));
    EXPECT_EQ(journal->output(2).value(), "two \"quoted\"\n");
    // A second batch on the same output waits for its turn.
    const auto second = BatchJournal::open(path, kKeys);
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().message.find("another batch"), std::string::npos);
  }
  // Killed while it wrote a line.
  std::ofstream(path, std::ios::app) << R"({"line":0,"key":"k0","fai)";
  auto journal = BatchJournal::open(path, kKeys);
  ASSERT_TRUE(journal);
  EXPECT_EQ(journal->resumed(), 1U);
  EXPECT_FALSE(journal->has(0));
  EXPECT_FALSE(journal->has(1)) << "what failed is asked again";
  EXPECT_TRUE(journal->has(2));
  ASSERT_TRUE(journal->add(0, "zero", false));
  EXPECT_EQ(journal->output(0).value(), "zero");
  EXPECT_EQ(journal->output(2).value(), "two \"quoted\"\n");
}

TEST(BatchJournal, ChangedLinesAreAskedAgain) {
  const tern::testing::TempFolder folder;
  const auto path = folder / "out.part";
  { ASSERT_TRUE(BatchJournal::open(path, kKeys)->add(1, "one", false)); }
  EXPECT_TRUE(BatchJournal::open(path, kKeys)->has(1));
  EXPECT_FALSE(BatchJournal::open(path, {"k0", "other", "k2"})->has(1));
  // An input that became shorter.
  EXPECT_EQ(BatchJournal::open(path, {"k0"})->resumed(), 0U);
}

TEST(BatchJournal, LeavesOtherFilesAlone) {
  const tern::testing::TempFolder folder;
  const auto path = folder / "out.part";
  std::ofstream(path) << "my precious notes\n";
  const auto journal = BatchJournal::open(path, kKeys);
  ASSERT_FALSE(journal);
  EXPECT_NE(journal.error().message.find("Move it away"), std::string::npos);
  std::ifstream in(path);
  std::string text;
  std::getline(in, text);
  EXPECT_EQ(text, "my precious notes");
}

}  // namespace
}  // namespace tern::cli
