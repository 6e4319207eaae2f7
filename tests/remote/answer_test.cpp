// Answers of the API, from bytes to completions, without a network: the shapes that servers are known to send, cut anywhere.

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <vector>

#include "remote/answer_reader.h"
#include "tests/support/source_dir.h"

namespace tern {
namespace {

using End = AnswerReader::End;

struct Read {
  End end = End::kNone;
  std::string text;  // as the sinks got it
  std::string reasoning;
  std::string words;
  ServerError error;
  Result<Completion> completion = Completion();
  int32_t cached = 0;
};

Read read(const std::vector<std::string_view>& pieces) {
  Read result;
  const Completer::Sink text = [&](std::string_view piece) {
    result.text += piece;
    return true;
  };
  const Completer::Sink reasoning = [&](std::string_view piece) {
    result.reasoning += piece;
    return true;
  };
  AnswerReader reader(text, reasoning);
  for (const std::string_view piece : pieces) {
    if (!reader.feed(piece)) {
      break;
    }
  }
  result.end = reader.finish();
  result.words = reader.words();
  result.error = reader.error();
  result.completion = reader.answer().complete(400);
  result.cached = reader.answer().cached_tokens();
  // What sinks got is what is kept, whatever happened.
  EXPECT_EQ(result.text, reader.answer().text());
  EXPECT_EQ(result.reasoning, reader.answer().reasoning());
  return result;
}

std::string event(const std::string& data) {
  return "data: " + data + "\n\n";
}

// A chunk with this delta, and perhaps a reason to end.
std::string chunk(const std::string& delta, const std::string& reason = "null") {
  return event(
      R"({"id":"chatcmpl-1","object":"chat.completion.chunk","model":"m-1","choices":[{"index":0,"delta":)" +
      delta + R"(,"finish_reason":)" + reason + "}]}");
}

const std::string kUsage = event(
    R"({"id":"chatcmpl-1","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}})");
const std::string kDone = event("[DONE]");

// As OpenAI's servers stream, with the characters of several bytes and the escapes that JSON allows.
const std::string kTranscript =
    chunk(R"({"role":"assistant","content":"","refusal":null})") + ": keep-alive\n\n" +
    chunk(R"({"content":"Gr\u00fc"})") + chunk(R"({"content":"\u00dfe, \ud83c\udf0d"})") +
    chunk("{\"content\":\" \xE4\xBD\xA0\xE5\xA5\xBD\xF0\x9F\x91\x8B\"}") +
    chunk("{}", R"("stop")") + kUsage + kDone;
constexpr char kText[] =
    "Gr\xC3\xBC\xC3\x9F"
    "e, \xF0\x9F\x8C\x8D \xE4\xBD\xA0\xE5\xA5\xBD\xF0\x9F\x91\x8B";

void expect_whole(const Read& read, const std::string& how) {
  ASSERT_EQ(read.end, End::kComplete) << how << " " << read.words;
  ASSERT_TRUE(read.completion);
  EXPECT_EQ(read.text, kText) << how;
  EXPECT_EQ(read.completion->text, kText) << how;
  EXPECT_EQ(read.completion->usage.prompt_tokens, 9);
  EXPECT_EQ(read.completion->usage.completion_tokens, 4);
  EXPECT_FALSE(read.completion->usage.estimated);
  EXPECT_EQ(read.completion->reason, StopReason::kEndOfText);
}

TEST(Answer, IsTheSameWhereverTheNetworkCutsIt) {
  const std::string_view whole = kTranscript;
  std::vector<std::string_view> bytes;
  for (size_t cut = 0; cut < whole.size(); ++cut) {
    expect_whole(read({whole.substr(0, cut), whole.substr(cut)}), std::to_string(cut));
    bytes.push_back(whole.substr(cut, 1));
  }
  expect_whole(read(bytes), "byte by byte");
}

TEST(Answer, ThatEndsTooSoonIsAnErrorWithWhatCame) {
  const std::string_view whole = kTranscript;
  const size_t marker = whole.find(R"("finish_reason":"stop")");
  const size_t marked = whole.find("\n\n", marker) + 2;
  for (size_t size = 0; size < whole.size(); ++size) {
    const Read cut = read({whole.substr(0, size)});
    // Up to the blank line that ends the event with the reason, nothing says that the text is whole.
    EXPECT_EQ(cut.end, size < marked ? End::kCut : End::kComplete) << size;
    EXPECT_TRUE(std::string_view(kText).starts_with(cut.text)) << size;
    EXPECT_FALSE(cut.end == End::kCut && cut.words.empty());
    if (cut.end == End::kComplete) {
      EXPECT_EQ(cut.text, kText);
      const size_t usage = whole.find("\n\n", whole.find(R"("usage")")) + 2;
      EXPECT_EQ(cut.completion->usage.estimated, size < usage) << size;
    }
  }
}

std::string golden(const char* name) {
  std::ifstream file(testing::source_path("tests/golden/remote") / name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// What llama.cpp's server sent, streamed and plain (tests/remote/real_server.py --record): the stream says what the plain answer says.
TEST(Answer, OfARealServerIsTheSameStreamedAndPlainWhereverItIsCut) {
  const nlohmann::json plain = nlohmann::json::parse(golden("llama_server_plain.json"));
  const auto text = plain["choices"][0]["message"]["content"].get<std::string>();
  const std::string recorded = golden("llama_server_stream.txt");
  const std::string_view whole = recorded;
  ASSERT_FALSE(text.empty());
  const size_t marked = whole.find("\n\n", whole.find(R"("finish_reason":"length")")) + 2;
  for (size_t cut = 0; cut <= whole.size(); ++cut) {
    const Read both = read({whole.substr(0, cut), whole.substr(cut)});
    ASSERT_EQ(both.end, End::kComplete) << cut;
    EXPECT_EQ(both.text, text) << cut;
    EXPECT_EQ(both.completion->reason, StopReason::kLength);
    EXPECT_EQ(both.completion->usage.prompt_tokens, plain["usage"]["prompt_tokens"]);
    EXPECT_EQ(both.completion->usage.completion_tokens, plain["usage"]["completion_tokens"]);
    const Read first = read({whole.substr(0, cut)});
    EXPECT_EQ(first.end, cut < marked ? End::kCut : End::kComplete) << cut;
    EXPECT_TRUE(text.starts_with(first.text)) << cut;
  }
  EXPECT_EQ(read({golden("llama_server_plain.json")}).text, text);
}

TEST(Answer, NeedsOneOfTheMarkersAtItsEnd) {
  const std::string hello = chunk(R"({"content":"Hello"})");
  EXPECT_EQ(read({hello, kDone}).end, End::kComplete);
  EXPECT_EQ(read({hello, chunk("{}", R"("stop")")}).end, End::kComplete);
  EXPECT_EQ(read({hello}).end, End::kCut);
  EXPECT_EQ(read({kDone}).end, End::kCut);
  EXPECT_EQ(read({}).end, End::kCut);
  EXPECT_EQ(read({"\xEF\xBB"}).end, End::kCut);
  EXPECT_EQ(read({" \r\n\r\n "}).end, End::kCut);
  EXPECT_EQ(read({": OPENROUTER PROCESSING\n\n"}).end, End::kCut);
  // Twice, and with more behind it: the first one ends the answer.
  EXPECT_EQ(read({hello, "data: [DONE] and more\n\n", kDone, chunk(R"({"content":"no"})")}).text,
            "Hello");
}

TEST(Answer, EstimatesTokensThatNobodyCounted) {
  const Read estimated = read({chunk(R"({"content":"12345678 9"})"), kDone});
  EXPECT_TRUE(estimated.completion->usage.estimated);
  EXPECT_EQ(estimated.completion->usage.prompt_tokens, 100);  // of 400 bytes
  EXPECT_EQ(estimated.completion->usage.completion_tokens, 3);
  // The last count is the one that holds.
  const Read growing = read(
      {event(
           R"({"choices":[{"index":0,"delta":{"content":"x"}}],"usage":{"prompt_tokens":5,"completion_tokens":1}})"),
       event(
           R"({"choices":[{"index":0,"delta":{"content":"y"}}],"usage":{"prompt_tokens":5,"completion_tokens":2}})"),
       event(R"({"choices":[],"usage":null})"), kDone});
  EXPECT_EQ(growing.completion->usage.completion_tokens, 2);
  EXPECT_FALSE(growing.completion->usage.estimated);
  const Read odd = read(
      {event(R"({"choices":[],"usage":{"prompt_tokens":-5,"completion_tokens":1e99}})"), kDone});
  EXPECT_TRUE(odd.completion->usage.estimated);
  const auto growing_to_zero = read(
      {event(
           R"({"choices":[{"index":0,"delta":{"content":"x"}}],"usage":{"prompt_tokens":5,"completion_tokens":1}})"),
       event(R"({"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}})"), kDone});
  EXPECT_EQ(growing_to_zero.completion->usage.prompt_tokens, 5);
  EXPECT_FALSE(growing_to_zero.completion->usage.estimated);
}

struct UsageRow {
  const char* about;
  const char* usage;
  int32_t prompt, cached, answer;
  bool estimated = false;
};

// As the documents of these servers show it. The text has 10 bytes, the prompt 400.
TEST(Answer, UsageOfManyServers) {
  const UsageRow rows[] = {
      {"OpenAI",
       R"({"prompt_tokens":9520,"completion_tokens":4,"total_tokens":9524,"prompt_tokens_details":{"cached_tokens":9519,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}})",
       9520, 9519, 4},
      {"the Responses API",
       R"({"input_tokens":36,"input_tokens_details":{"cached_tokens":20},"output_tokens":87,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":123})",
       36, 20, 87},
      {"DeepSeek",
       R"({"prompt_tokens":100,"completion_tokens":5,"total_tokens":105,"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36})",
       100, 64, 5},
      {"Moonshot", R"({"prompt_tokens":100,"completion_tokens":5,"cached_tokens":32})", 100, 32, 5},
      {"Anthropic, whose input does not hold what is cached",
       R"({"input_tokens":21,"cache_creation_input_tokens":0,"cache_read_input_tokens":188086,"output_tokens":393})",
       188107, 188086, 393},
      {"Anthropic, writing a cache",
       R"({"input_tokens":21,"cache_creation_input_tokens":1000,"cache_read_input_tokens":0,"output_tokens":3})",
       1021, 0, 3},
      {"Anthropic behind LiteLLM, whose prompt does",
       R"({"prompt_tokens":120,"completion_tokens":3,"total_tokens":123,"prompt_tokens_details":{"cached_tokens":100},"cache_creation_input_tokens":0,"cache_read_input_tokens":100})",
       120, 100, 3},
      {"Gemini and xAI, reasoning in the total alone",
       R"({"prompt_tokens":10,"completion_tokens":9,"total_tokens":300})", 10, 0, 290},
      {"zeros beside a text", R"({"prompt_tokens":0,"completion_tokens":0,"total_tokens":0})", 100,
       0, 3, true},
      {"a prompt alone", R"({"prompt_tokens":50,"completion_tokens":0})", 50, 0, 3, true},
      {"more cached than there are",
       R"({"prompt_tokens":50,"completion_tokens":1,"cached_tokens":80})", 50, 50, 1},
      {"nulls",
       R"({"prompt_tokens":50,"completion_tokens":1,"prompt_tokens_details":null,"completion_tokens_details":null})",
       50, 0, 1},
      {"nothing of use", R"({"tokens":7})", 100, 0, 3, true},
  };
  for (const UsageRow& row : rows) {
    SCOPED_TRACE(row.about);
    const std::string text = chunk(R"({"content":"0123456789"})", R"("stop")");
    const auto got =
        read({text, event(std::string(R"({"choices":[],"usage":)") + row.usage + "}"), kDone});
    ASSERT_TRUE(got.completion);
    const Usage& usage = got.completion->usage;
    EXPECT_EQ(usage.prompt_tokens, row.prompt);
    EXPECT_EQ(got.cached, row.cached);
    EXPECT_EQ(usage.completion_tokens, row.answer);
    EXPECT_EQ(usage.estimated, row.estimated);
  }
}

TEST(Answer, PassesOverWhatIsNoChunkButNotOverADamagedOne) {
  const std::string hello = chunk(R"({"content":"Hello"})");
  const Read pinged = read(
      {hello, event("ping"), event("\"{\""), event("[1]"), event("12"), event(""), hello, kDone});
  EXPECT_EQ(pinged.end, End::kComplete);
  EXPECT_EQ(pinged.text, "HelloHello");
  for (const char* damaged : {R"({"choices":[{"delta":{"content":"lo)",
                              R"({"choices":[{"delta":{"content":"lo"}}]}})", "{]"}) {
    const Read lost = read({hello, event(damaged), hello, kDone});
    EXPECT_EQ(lost.end, End::kNonsense) << damaged;
    EXPECT_EQ(lost.text, "Hello");
    EXPECT_NE(lost.words.find("damaged"), std::string::npos);
  }
  std::string deep = R"({"choices":)";
  deep.append(100'000, '[');
  EXPECT_EQ(read({hello, event(deep)}).end, End::kNonsense);
  // Chunks without choices, without index, with others' index, and of a filter that speaks first.
  const Read odd = read(
      {event(R"({"prompt_filter_results":[{"index":0}],"choices":[]})"),
       event(R"({"choices":[{"index":1,"delta":{"content":"other"}}]})"),
       event(R"({"choices":[{"delta":{"content":[{"type":"text","text":"parts"}]}}]})"),
       event(R"({"choices":[null,5,{"delta":null},{"delta":{"content":null,"tool_calls":null}}]})"),
       event("{}"), kDone});
  EXPECT_EQ(odd.end, End::kComplete);
  EXPECT_EQ(odd.text, "parts");
}

TEST(Answer, KeepsReasoningApart) {
  for (const char* name : {"reasoning_content", "reasoning"}) {
    const Read thought = read({chunk(std::string("{\"") + name + "\":\"Hm, \"}"),
                               chunk(std::string("{\"") + name + "\":\"yes.\",\"content\":null}"),
                               chunk(R"({"content":"Yes"})"), chunk("{}", R"("stop")"), kDone});
    EXPECT_EQ(thought.text, "Yes");
    EXPECT_EQ(thought.reasoning, "Hm, yes.");
    EXPECT_EQ(thought.completion->reasoning, "Hm, yes.");
    const Read plain =
        read({std::string(R"({"choices":[{"message":{"role":"assistant","content":"Yes",")") +
              name + R"(":"Hm"},"finish_reason":"stop"}]})"});
    EXPECT_EQ(plain.text, "Yes");
    EXPECT_EQ(plain.reasoning, "Hm");
  }
}

TEST(Answer, MapsReasonsToEnd) {
  const std::pair<const char*, StopReason> kReasons[] = {
      {"stop", StopReason::kEndOfText},          {"eos", StopReason::kEndOfText},
      {"length", StopReason::kLength},           {"tool_calls", StopReason::kToolCalls},
      {"function_call", StopReason::kToolCalls}, {"content_filter", StopReason::kContentFilter}};
  for (const auto& [name, reason] : kReasons) {
    const Read ended = read({chunk(R"({"content":"x"})", std::string("\"") + name + "\""), kDone});
    EXPECT_EQ(ended.end, End::kComplete);
    EXPECT_EQ(ended.completion->reason, reason) << name;
  }
  const Read refused = read({chunk(R"({"refusal":"I can not"})"), chunk("{}", R"("stop")")});
  EXPECT_EQ(refused.completion->reason, StopReason::kContentFilter);
  EXPECT_EQ(refused.text, "I can not");
  EXPECT_EQ(read({chunk(R"({"content":"x"})", R"("error")"), kDone}).end, End::kRefused);
}

TEST(Answer, AssemblesParallelCallsByIndex) {
  const Read calls = read(
      {chunk(
           R"({"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"sum","arguments":""}}]})"),
       chunk(
           R"({"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":"}},{"index":1,"id":"b","type":"function","function":{"name":"now","arguments":"{"}}]})"),
       chunk(R"({"tool_calls":[{"index":1,"function":{"arguments":"}"}}]})"),
       chunk(R"({"tool_calls":[{"index":0,"function":{"arguments":" 1}"}}]})"),
       chunk(R"({"tool_calls":[{"index":5,"id":"c","function":{"name":"none"}}]})"),
       chunk("{}", R"("tool_calls")"), kDone});
  ASSERT_EQ(calls.end, End::kComplete);
  ASSERT_TRUE(calls.completion) << calls.completion.error().message;
  ASSERT_EQ(calls.completion->tool_calls.size(), 3U);
  EXPECT_EQ(calls.completion->tool_calls[0].id, "a");
  EXPECT_EQ(calls.completion->tool_calls[0].name, "sum");
  EXPECT_EQ(calls.completion->tool_calls[0].arguments, R"({"x": 1})");
  EXPECT_EQ(calls.completion->tool_calls[1].arguments, "{}");
  EXPECT_EQ(calls.completion->tool_calls[2].name, "none");
  EXPECT_EQ(calls.completion->tool_calls[2].arguments, "{}");
  EXPECT_EQ(calls.completion->reason, StopReason::kToolCalls);
  EXPECT_EQ(calls.text, "");
  // Without an index, repeated names, an object for arguments, "stop" for a reason; and the older shape.
  const Read loose =
      read({chunk(R"({"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{\"y\":"}}]})"),
            chunk(R"({"tool_calls":[{"function":{"arguments":"2}"}}]})"),
            chunk(R"({"tool_calls":[{"id":"b","function":{"name":"g","arguments":{"z":[3]}}}]})"),
            chunk("{}", R"("stop")")});
  ASSERT_EQ(loose.completion->tool_calls.size(), 2U);
  EXPECT_EQ(loose.completion->tool_calls[0].arguments, R"({"y":2})");
  EXPECT_EQ(loose.completion->tool_calls[1].arguments, R"({"z":[3]})");
  EXPECT_EQ(loose.completion->reason, StopReason::kToolCalls);
  const Read older =
      read({chunk(R"({"function_call":{"name":"f","arguments":"{"}})"),
            chunk(R"({"function_call":{"arguments":"}"}})"), chunk("{}", R"("function_call")")});
  EXPECT_EQ(older.completion->tool_calls.at(0).arguments, "{}");
}

TEST(Answer, RefusesCallsThatAreNoJson) {
  const std::string half = chunk(
      R"({"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":"}}]})");
  const Read cut = read({half, chunk("{}", R"("length")")});
  ASSERT_FALSE(cut.completion);
  EXPECT_NE(cut.completion.error().message.find("limit of tokens"), std::string::npos);
  EXPECT_FALSE(read({half, chunk("{}", R"("tool_calls")")}).completion);
  EXPECT_FALSE(read({chunk(R"({"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]})"), kDone})
                   .completion);
}

TEST(Answer, FindsErrorsWithinAGoodStatus) {
  const std::string hello = chunk(R"({"content":"Hello"})");
  for (
      const std::string& refusal :
      {event(R"({"error":{"message":"went wrong","code":"server_error"}})"),
       std::string("event: error\ndata: "
                   "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":"
                   "\"went wrong\"}}\n\n"),
       std::string("event: error\ndata: went wrong\n\n"), event(R"({"error":"it went wrong"})"),
       event(
           R"({"id":"x","error":{"code":502,"message":"went wrong"},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]})"),
       event(
           R"({"choices":[{"index":0,"delta":{},"error":{"message":"went wrong"},"finish_reason":"error"}]})")}) {
    const Read failed = read({hello, refusal, kDone});
    EXPECT_EQ(failed.end, End::kRefused) << refusal;
    EXPECT_NE(failed.error.message.find("went wrong"), std::string::npos) << refusal;
    EXPECT_EQ(failed.text, "Hello");
  }
  EXPECT_EQ(read({R"({"error":{"message":"plain","type":"server_error"}})"}).end, End::kRefused);
  // Servers that always send the member mean nothing by null.
  EXPECT_EQ(
      read(
          {event(R"({"error":null,"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]})")})
          .end,
      End::kComplete);
}

TEST(Answer, ReadsJsonWhereAStreamWasAskedForAndPages) {
  const std::string plain =
      R"( {"id":"c","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},
      "finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}})";
  for (const std::string& body : {plain, "\xEF\xBB\xBF" + plain}) {
    for (size_t cut = 0; cut <= body.size(); cut += 7) {
      const Read whole =
          read({std::string_view(body).substr(0, cut), std::string_view(body).substr(cut)});
      ASSERT_EQ(whole.end, End::kComplete) << cut;
      EXPECT_EQ(whole.text, "Hello");
      EXPECT_EQ(whole.completion->usage.prompt_tokens, 3);
    }
    EXPECT_EQ(read({std::string_view(body).substr(0, body.size() - 1)}).end, End::kCut);
  }
  EXPECT_EQ(read({R"({"message":"hello"})"}).end, End::kNonsense);
  EXPECT_EQ(read({"[]"}).end, End::kNonsense);
  const Read page = read({"<html><title>Sign in", " to Wi-Fi</title>"});
  EXPECT_EQ(page.end, End::kNonsense);
  EXPECT_NE(page.words.find("Sign in to Wi-Fi"), std::string::npos) << page.words;
  EXPECT_EQ(read({"this is text\nof no kind\n\n"}).end, End::kCut);
}

TEST(Answer, ReadsResponsesEventsOnTheChatEndpoint) {
  const std::string start =
      "event: response.created\n" +
      event(
          R"({"type":"response.created","response":{"id":"resp_1","model":"gpt-5.4","status":"in_progress","error":null,"output":[]}})");
  const std::string item = event(
      R"({"type":"response.output_item.added","output_index":0,"item":{"type":"message","content":[]}})");
  const std::string deltas =
      event(
          R"({"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"Hel"})") +
      event(
          R"({"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"lo"})");
  const std::string wholes =
      event(
          R"({"type":"response.output_text.done","output_index":0,"content_index":0,"text":"Hello"})") +
      event(
          R"({"type":"response.content_part.done","output_index":0,"content_index":0,"part":{"type":"output_text","text":"Hello"}})");
  const std::string end = event(
      R"({"type":"response.completed","response":{"id":"resp_1","status":"completed","error":null,"output":[{"type":"message","content":[{"type":"output_text","text":"Hello"}]}],"usage":{"input_tokens":7,"output_tokens":2}}})");
  // Pieces, or the whole, or only the end: the text comes once.
  using Pieces = std::vector<std::string_view>;
  for (const Pieces& stream : {Pieces{start, item, deltas, wholes, end}, Pieces{start, wholes, end},
                               Pieces{start, end}, Pieces{deltas, end}}) {
    const Read whole = read(stream);
    ASSERT_EQ(whole.end, End::kComplete) << stream.size();
    EXPECT_EQ(whole.text, "Hello") << stream.size();
    EXPECT_EQ(whole.completion->usage.prompt_tokens, 7);
    EXPECT_EQ(whole.completion->usage.completion_tokens, 2);
  }
  EXPECT_EQ(read({start + deltas}).end, End::kCut);
  const Read limited = read(
      {start + deltas +
       event(
           R"({"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}}})")});
  EXPECT_EQ(limited.completion->reason, StopReason::kLength);
  const Read failed = read(
      {start +
       event(
           R"({"type":"response.failed","response":{"status":"failed","error":{"code":"rate_limit_exceeded","message":"slow down"}}})")});
  EXPECT_EQ(failed.end, End::kRefused);
  EXPECT_EQ(classify(200, failed.error), ApiErrorClass::kRateLimit);
  EXPECT_EQ(read({start + event(R"({"type":"response.failed"})")}).end, End::kRefused);
  const Read call = read(
      {start + event(R"({"type":"response.reasoning_summary_text.delta","delta":"Hm"})") +
       event(
           R"({"type":"response.output_item.added","output_index":1,"item":{"type":"function_call","call_id":"c1","name":"f","arguments":""}})") +
       event(
           R"({"type":"response.function_call_arguments.delta","output_index":1,"delta":"{\"x\""})") +
       event(
           R"({"type":"response.function_call_arguments.delta","output_index":1,"delta":":1}"})") +
       event(R"({"type":"response.completed","response":{"status":"completed"}})")});
  ASSERT_TRUE(call.completion) << call.completion.error().message;
  EXPECT_EQ(call.completion->tool_calls.at(0).arguments, R"({"x":1})");
  EXPECT_EQ(call.completion->tool_calls.at(0).id, "c1");
  EXPECT_EQ(call.reasoning, "Hm");
  const Read plain = read(
      {R"({"object":"response","status":"completed","error":null,"model":"gpt-5.4","output":[{"type":"reasoning"},{"type":"message","content":[{"type":"output_text","text":"Hello"}]}]})"});
  EXPECT_EQ(plain.end, End::kComplete);
  EXPECT_EQ(plain.text, "Hello");
}

TEST(Answer, HasABound) {
  constexpr size_t kMost = size_t{1} << 20;
  // Text, reasoning, calls, parts of a response, and JSON that never ends.
  const std::string kEndless[] = {
      chunk(R"({"content":")" + std::string(1000, 'x') + "\"}"),
      chunk(R"({"reasoning":")" + std::string(1000, 'x') + "\"}"),
      chunk(R"({"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]})"),
      event(R"({"type":"response.function_call_arguments.delta","delta":"x"})"),
      "{\"choices\":   "};
  for (const std::string& piece : kEndless) {
    AnswerReader reader({}, {}, kMost);
    size_t fed = 0;
    while (reader.feed(piece)) {
      fed += piece.size();
      ASSERT_LE(fed, 4 * kMost) << piece;
    }
    EXPECT_EQ(reader.finish(), End::kNonsense);
    EXPECT_NE(reader.words().find("longer than 1 MiB"), std::string::npos) << reader.words();
  }
}

TEST(Answer, StopsWhenASinkSaysSo) {
  int pieces = 0;
  const Completer::Sink text = [&](std::string_view) { return ++pieces < 2; };
  AnswerReader reader(text, {});
  const std::string hello = chunk(R"({"content":"Hello"})");
  EXPECT_FALSE(reader.feed(hello + hello + hello + kDone));
  EXPECT_EQ(reader.finish(), End::kStopped);
  EXPECT_EQ(pieces, 2);
  EXPECT_EQ(reader.answer().text(), "HelloHello");
  EXPECT_TRUE(reader.delivered());
}

}  // namespace
}  // namespace tern
