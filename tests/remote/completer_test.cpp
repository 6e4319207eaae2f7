// One provider over real sockets: what is sent, and what comes back.

#include "remote/remote_completer.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "remote/system_clock.h"
#include "tests/remote/client.h"

namespace tern {
namespace {

using namespace testing;  // NOLINT: the support of tests
using Json = nlohmann::json;

TEST(Completer, StreamsAndSaysWhoServed) {
  Client client({streams(kHello, "X-Request-Id: req-7\r\n")});
  for (int i = 0; i < 2; ++i) {
    const Called called = client.call();
    expect_hello(called);
    const Completion& completion = called.outcome.completion;
    EXPECT_EQ(completion.usage.prompt_tokens, 12);
    EXPECT_EQ(completion.usage.completion_tokens, 3);
    EXPECT_FALSE(completion.usage.estimated);
    EXPECT_EQ(completion.served.provider, "holysheep");
    EXPECT_EQ(completion.served.model, "served-model");
    EXPECT_EQ(completion.served.request_id, "req-7");
    EXPECT_EQ(called.notices, "");
  }
  EXPECT_EQ(client.api.connections(), 1);  // the second used it again
  const std::string asked = client.api.requests()[0];
  EXPECT_TRUE(asked.starts_with("POST /v1/chat/completions HTTP/1.1\r\n")) << asked;
  for (const char* header :
       {"\r\nAuthorization: Bearer cr_SECRETSECRETSECRETwxyz\r\n",
        "\r\nContent-Type: application/json\r\n", "\r\nAccept: text/event-stream\r\n",
        "\r\nAccept-Encoding: identity\r\n"}) {
    EXPECT_NE(asked.find(header), std::string::npos) << asked;
  }
  EXPECT_EQ(
      Json::parse(body_of(asked)),
      Json::parse(
          R"({"model":"deepseek-v3.2","messages":[{"role":"user","content":"Hi"}],"stream":true,
                "stream_options":{"include_usage":true}})"));
}

TEST(Completer, DeliversPiecesAsTheyCome) {
  std::promise<void> seen;
  ScriptedApi api({[&](Peer& peer) {
    peer.closed_within(0.02);
    peer.send(events_head() + chunked(text_event("first")));
    // The rest goes out only once the first piece has arrived.
    EXPECT_EQ(seen.get_future().wait_for(std::chrono::seconds(5)), std::future_status::ready);
    peer.send(chunked(text_event("second") + done_event()) + chunked(""));
    return true;
  }});
  CurlTransport transport("t");
  SystemClock clock;
  RemoteCompleter completer(transport, clock, provider_at(api.url()), {});
  std::string text;
  Sinks sinks;
  sinks.text = [&](std::string_view piece) {
    if (text.empty()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      seen.set_value();
    }
    text += piece;
    return true;
  };
  const ApiOutcome outcome = completer.complete(request_of("Hi"), "m", sinks);
  ASSERT_TRUE(outcome) << outcome.error->message;
  EXPECT_EQ(text, "firstsecond");
  EXPECT_GT(outcome.completion.usage.first_token_seconds, 0);
  EXPECT_GE(outcome.completion.usage.generation_seconds, 0.015);
  EXPECT_TRUE(outcome.completion.usage.estimated);
  EXPECT_EQ(api.requests()[0].find("Authorization"), std::string::npos);
}

TEST(Completer, AsksForPlainAnswersToo) {
  Client client({says("200 OK", kPlainHello, "Content-Type: application/json\r\n")});
  const Called called = client.call(request_of("Hi"), /*plain=*/true);
  expect_hello(called);
  EXPECT_EQ(called.outcome.completion.usage.prompt_tokens, 12);
  EXPECT_EQ(called.outcome.completion.served.request_id, "c-1");
  EXPECT_EQ(
      Json::parse(body_of(client.api.requests()[0])),
      Json::parse(R"({"model":"deepseek-v3.2","messages":[{"role":"user","content":"Hi"}]})"));
}

TEST(Completer, TakesEventsForJsonAndJsonForEvents) {
  Client events({streams(kHello)});
  expect_hello(events.call(request_of("Hi"), /*plain=*/true));
  Client json({says("200 OK", kPlainHello, "Content-Type: text/event-stream\r\n")});
  expect_hello(json.call());
  Client responses({streams(
      "event: response.output_text.delta\n"
      R"(data: {"type":"response.output_text.delta","delta":"Hello, you"})"
      "\n\n"
      R"(data: {"type":"response.completed","response":{"status":"completed","usage":{"input_tokens":1,"output_tokens":2}}})"
      "\n\n")});
  expect_hello(responses.call(request_of("Hi"), /*plain=*/true));
}

TEST(Completer, AssemblesParallelCallsFromTheWire) {
  const std::string kDeltas[] = {
      R"([{"index":0,"id":"a","type":"function","function":{"name":"weather","arguments":""}},)"
      R"({"index":1,"id":"b","type":"function","function":{"name":"time","arguments":"{\"zone\""}}])",
      R"([{"index":0,"function":{"arguments":"{\"city\":\"Z\u00fcr"}}])",
      R"([{"index":1,"function":{"arguments":":1}"}},{"index":0,"function":{"arguments":"ich\"}"}}])"};
  std::string events;
  for (const std::string& delta : kDeltas) {
    events += R"(data: {"choices":[{"index":0,"delta":{"tool_calls":)" + delta + "}}]}\r\n\r\n";
  }
  events += R"(data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]})"
            "\r\n\r\n" +
            done_event();
  // Each byte in a chunk of its own.
  std::string bytes = events_head();
  for (const char c : events) {
    bytes += chunked(std::string_view(&c, 1));
  }
  Client client({sends(bytes + chunked(""))});
  const Called called = client.call();
  ASSERT_TRUE(called.outcome) << called.outcome.error->message;
  const std::vector<ToolCall>& calls = called.outcome.completion.tool_calls;
  ASSERT_EQ(calls.size(), 2U);
  EXPECT_EQ(calls[0].name, "weather");
  EXPECT_EQ(Json::parse(calls[0].arguments), Json::parse("{\"city\":\"Z\xC3\xBCrich\"}"));
  EXPECT_EQ(calls[1].id, "b");
  EXPECT_EQ(Json::parse(calls[1].arguments), Json::parse(R"({"zone":1})"));
  EXPECT_EQ(called.outcome.completion.reason, StopReason::kToolCalls);
}

// Made by Python's gzip module from a completion that says "zipped" four times.
constexpr char kZipped[] =
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\x6d\xca\x31\x0e\xc3\x20\x10\x44\xd1\xab"
    "\x44\x53\x53\xb8\xe6\x2a\x51\x64\x21\xd8\xc4\x2b\xd9\xbb\x88\xa1\xb0\x82\xb8\x7b"
    "\x38\x40\xaa\xf7\x8b\x3f\x90\x0f\xd7\x2c\x44\x7c\x0e\xa8\x15\xb9\x11\xb7\x80\x4b"
    "\xc8\xf4\x11\xc4\x81\xe6\xe7\x12\x89\x54\xf6\x64\x1d\x01\xd9\xad\xcb\xaa\x88\xaf"
    "\xd6\x2a\xe5\xf1\x0f\xcc\x80\xb7\x9a\xf2\xd8\x9b\x24\xba\xad\x9d\xdd\x2b\xe6\x6b"
    "\xfe\x00\xfb\xfc\x61\xac\x77\x00\x00\x00";

TEST(Completer, UnpacksGzip) {
  const std::string body(kZipped, sizeof kZipped - 1);
  Client client({says("200 OK", body, "Content-Encoding: gzip\r\n")});
  for (const bool plain : {true, false}) {
    const Called called = client.call(request_of("Hi"), plain);
    ASSERT_TRUE(called.outcome) << called.outcome.error->message;
    EXPECT_EQ(called.text, "zipped zipped zipped zipped");
  }
  EXPECT_NE(client.api.requests()[0].find("\r\nAccept-Encoding: gzip\r\n"), std::string::npos);
  Client cut({says("200 OK", body.substr(0, 60), "Content-Encoding: gzip\r\n")});
  expect_error(cut.call(), Kind::kProtocol, "no whole JSON");
}

TEST(Completer, SendsWhatIsSetAndWhatTheProviderTakes) {
  Request request = request_of("Hi");
  request.messages.insert(request.messages.begin(), {"system", "Be brief.", ""});
  request.messages.push_back({"assistant", "", R"({"tool_calls":[{"id":"a"}],"content":null})"});
  request.sampling.temperature = 0.7F;
  request.sampling.top_p = 0.9F;
  request.sampling.top_k = 20;
  request.sampling.min_p = 0.1F;
  request.sampling.repeat_penalty = 1.1F;
  request.sampling.repeat_last_n = 128;
  request.sampling.presence_penalty = 0.5F;
  request.sampling.frequency_penalty = -0.25F;
  request.sampling.seed = 42;
  request.sampling.seed_given = true;
  request.sampling.logit_bias = {{7, -1e30F}, {9, 1.5F}};
  request.max_tokens = 512;
  request.stop = {"\n", "END"};
  request.ignore_eos = true;
  request.extra =
      R"({"response_format":{"type":"json_object"},"tools":[{"type":"function"}],"seed":43})";
  const char* kStandard =
      R"({"model":"deepseek-v3.2","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"},
      {"role":"assistant","content":null,"tool_calls":[{"id":"a"}]}],"temperature":0.7,"top_p":0.9,"presence_penalty":0.5,
      "frequency_penalty":-0.25,"seed":43,"logit_bias":{"7":-100.0,"9":1.5},"max_tokens":512,"stop":["\n","END"],
      "response_format":{"type":"json_object"},"tools":[{"type":"function"}]})";
  Client strict({says("200 OK", kPlainHello)});
  const Called told = strict.call(request, /*plain=*/true);
  expect_hello(told);
  EXPECT_EQ(Json::parse(body_of(strict.api.requests()[0])), Json::parse(kStandard));
  for (const char* name : {"top_k", "min_p", "repeat_penalty", "repeat_last_n", "ignore_eos"}) {
    EXPECT_NE(told.notices.find(std::string(name) + " is left out"), std::string::npos)
        << told.notices;
  }
  Provider provider;
  provider.name = "holysheep";
  provider.quirks.more_sampling = true;
  provider.quirks.max_completion_tokens = true;
  Client liberal({says("200 OK", kPlainHello)}, provider);
  const Called taken = liberal.call(request, /*plain=*/true);
  EXPECT_EQ(taken.notices, "");
  Json expected = Json::parse(kStandard);
  expected.erase("max_tokens");
  expected.update(Json::parse(
      R"({"top_k":20,"min_p":0.1,"repeat_penalty":1.1,"repetition_penalty":1.1,"repeat_last_n":128,
      "ignore_eos":true,"max_completion_tokens":512})"));
  EXPECT_EQ(Json::parse(body_of(liberal.api.requests()[0])), expected);
}

TEST(Completer, RefusesRequestsThatMakeNoSense) {
  Client client({says("200 OK", kPlainHello)});
  Request request = request_of("Hi");
  for (const char* extra : {"{", "[1]", "1", R"({"n":2})"}) {
    request.extra = extra;
    expect_error(client.call(request), Kind::kBadRequest, "expected");
  }
  request.extra.clear();
  request.local_only = true;
  expect_error(client.call(request), Kind::kBadRequest, "may not leave the machine");
  EXPECT_EQ(client.api.connections(), 0);
  // A prompt is a user's message, and what is no UTF-8 does not end the program.
  Request prompt;
  prompt.prompt = "a\xFF";
  expect_hello(client.call(prompt, /*plain=*/true));
  EXPECT_EQ(Json::parse(body_of(client.api.requests()[0]))["messages"],
            Json::parse("[{\"role\":\"user\",\"content\":\"a\xEF\xBF\xBD\"}]"));
}

TEST(Completer, LeavesOutWhatAServerRejectsAndRemembersIt) {
  Client client(
      {says("400 Bad Request",
            R"({"error":{"message":"Unrecognized request argument supplied: stream_options"}})"),
       streams(kHello)});
  for (int i = 0; i < 2; ++i) {
    expect_hello(client.call());
  }
  const std::vector<std::string> requests = client.api.requests();
  ASSERT_EQ(requests.size(), 3U);
  EXPECT_TRUE(Json::parse(body_of(requests[0])).contains("stream_options"));
  EXPECT_FALSE(Json::parse(body_of(requests[1])).contains("stream_options"));
  EXPECT_FALSE(Json::parse(body_of(requests[2])).contains("stream_options"));
  EXPECT_TRUE(client.clock.waits.empty());
  // Once: a server that goes on refusing is believed.
  Client stubborn({says(
      "422 Unprocessable Entity",
      R"({"detail":[{"loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]})")});
  expect_error(stubborn.call(), Kind::kBadRequest, "stream_options");
  EXPECT_EQ(stubborn.api.requests().size(), 2U);
  Client newer(
      {says(
           "400 Bad Request",
           R"({"error":{"message":"Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.","code":"unsupported_parameter"}})"),
       streams(kHello)});
  Request request = request_of("Hi");
  request.max_tokens = 5;
  expect_hello(newer.call(request));
  EXPECT_EQ(Json::parse(body_of(newer.api.requests()[1]))["max_completion_tokens"], 5);
}

// A drawn seed would make every request another one: caches never hit, and strict servers refuse
// the field.
TEST(Completer, SendsASeedOnlyWhereItWasGiven) {
  Client client({streams(kHello)});
  Request request = request_of("Hi");
  request.sampling.seed = 7;
  expect_hello(client.call(request));
  request.sampling.seed_given = true;
  request.sampling.seed = 0;
  expect_hello(client.call(request));
  EXPECT_FALSE(Json::parse(body_of(client.api.requests()[0])).contains("seed"));
  EXPECT_EQ(Json::parse(body_of(client.api.requests()[1]))["seed"], 0);
}

// A refusal, and the fields that the next request goes without.
struct Lesson {
  const char* status;
  const char* body;
  std::vector<std::string> left_out;  // none: the refusal is final
};

TEST(Completer, LearnsFromRefusalsThatNameAField) {
  const Lesson kLessons[] = {
      {"422 Unprocessable Entity",
       R"({"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted"}]})",
       {"seed"}},
      {"422 Unprocessable Entity",
       R"({"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted"},{"type":"extra_forbidden","loc":["body","logit_bias"],"msg":"Extra inputs are not permitted"}]})",
       {"seed", "logit_bias"}},
      {"400 Bad Request",
       R"({"error":{"message":"property 'logit_bias' is unsupported"}})",
       {"logit_bias"}},
      {"400 Bad Request",
       R"([{"error":{"code":400,"message":"Invalid JSON payload received. Unknown name \"seed\": Cannot find field."}}])",
       {"seed"}},
      {"400 Bad Request",
       R"({"error":{"message":"Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) value is supported.","param":"temperature","code":"unsupported_value"}})",
       {"temperature"}},
      {"400 Bad Request",
       R"({"error":{"message":"This parameter is not supported.","param":"seed"}})",
       {"seed"}},
      // A wrong value is the user's to change, as are fields that the answer depends on.
      {"400 Bad Request", R"({"error":{"message":"temperature must be at most 0.4"}})", {}},
      {"400 Bad Request", R"({"error":{"message":"'stop' is not supported"}})", {}},
      {"400 Bad Request", R"({"error":{"message":"the seeds of 'temperatures' are unknown"}})", {}},
      {"404 Not Found", R"({"error":{"message":"'seed' is not supported"}})", {}},
  };
  for (const Lesson& lesson : kLessons) {
    SCOPED_TRACE(lesson.body);
    Client client({says(lesson.status, lesson.body), streams(kHello)});
    std::vector<std::string> told;
    client.completer.on_refused_field([&](const std::string& field) { told.push_back(field); });
    Request request = request_of("Hi");
    request.sampling.seed = 5;
    request.sampling.seed_given = true;
    request.sampling.temperature = 0.5F;
    request.sampling.logit_bias = {{1, 2.0F}};
    request.stop = {"x"};
    const Called first = client.call(request);
    if (lesson.left_out.empty()) {
      EXPECT_TRUE(first.outcome.error);
      EXPECT_EQ(client.api.requests().size(), 1U);
      continue;
    }
    expect_hello(first);
    expect_hello(client.call(request));
    ASSERT_EQ(client.api.requests().size(), 3U);  // the second call knew
    EXPECT_EQ(std::set(told.begin(), told.end()),
              std::set(lesson.left_out.begin(), lesson.left_out.end()));
    for (size_t i = 1; i < 3; ++i) {
      const Json sent = Json::parse(body_of(client.api.requests()[i]));
      for (const char* field : {"seed", "temperature", "logit_bias", "stop"}) {
        EXPECT_EQ(sent.contains(field), std::ranges::count(lesson.left_out, field) == 0) << field;
      }
    }
    EXPECT_NE(first.notices.find(lesson.left_out[0] + " is left out"), std::string::npos);
  }
}

TEST(Completer, SendsHeadersAndFieldsOfTheProvider) {
  Provider provider;
  provider.name = "holysheep";
  provider.key_header = "api-key";
  provider.headers = {{"X-Team", "blue"}};
  provider.query = "api-version=2024-10-21";
  provider.extra_body = R"({"enable_thinking":false,"user":"a"})";
  Client client({streams(kHello), says("401 Unauthorized", "")}, provider);
  Request request = request_of("Hi");
  request.extra = R"({"user":"b"})";
  expect_hello(client.call(request));
  const std::string sent = client.api.requests()[0];
  EXPECT_NE(sent.find("POST /v1/chat/completions?api-version=2024-10-21 "), std::string::npos)
      << sent;
  EXPECT_NE(sent.find("api-key: " + kKey.value + "\r\n"), std::string::npos);
  EXPECT_EQ(sent.find("Authorization"), std::string::npos);
  EXPECT_NE(sent.find("X-Team: blue\r\n"), std::string::npos);
  EXPECT_EQ(Json::parse(body_of(sent))["enable_thinking"], false);
  EXPECT_EQ(Json::parse(body_of(sent))["user"], "b");  // the caller's word is the last
  expect_error(client.call(), Kind::kAuth, "sent as \"api-key: cr_S...wxyz\"");
  // A header may be a key, and a server may repeat it.
  provider.headers = {{"Ocp-Key", "0123456789abcdefghij"},
                      {"X-Auth", "Bearer zyxwvutsrqponmlkjihg"}};
  Client talkative(
      {says("403 Forbidden", R"({"error":"not 0123456789abcdefghij, nor zyxwvutsrqponmlkjihg"})")},
      provider);
  const Called told = talkative.call();
  expect_error(told, Kind::kPermission, "not 0123...ghij, nor zyxw...jihg");
}

TEST(Completer, KnocksWhereThereIsNoListOfModels) {
  const char* kNoKey = R"({"error":"Invalid API key"})";
  Client listed({says("200 OK", R"({"data":[{"id":"a"},{"id":"b"}]})")});
  EXPECT_EQ(listed.completer.knock().models, 2U);
  Client none({says("404 Not Found", ""),
               says("422 Unprocessable Entity", R"({"detail":"messages: field required"})")});
  EXPECT_FALSE(none.completer.knock().error);
  Client refused({says("404 Not Found", ""), says("401 Unauthorized", kNoKey)});
  ASSERT_TRUE(refused.completer.knock().error);
  Client hidden({says("405 Method Not Allowed", ""), says("404 Not Found", "")});
  EXPECT_TRUE(hidden.completer.knock().error);
  Client wrong({says("401 Unauthorized", kNoKey)});
  EXPECT_EQ(wrong.completer.knock().error->kind, Kind::kAuth);
  EXPECT_EQ(wrong.api.requests().size(), 1U);
}

TEST(Completer, ListsModelsAndChecksTheKeyWithThem) {
  Client client(
      {says(
           "200 OK",
           R"({"object":"list","data":[{"id":"deepseek-v3.2","owned_by":"deepseek"},{"id":"local","max_model_len":4096},{"no":1}]})"),
       says("401 Unauthorized", R"({"error":"Invalid API key"})"), says("200 OK", R"({"data":5})"),
       says("200 OK", R"({"balance":5})"), says("503 Service Unavailable", "")});
  const ModelsOutcome found = client.completer.models();
  ASSERT_FALSE(found.error) << found.error->message;
  ASSERT_EQ(found.models.size(), 2U);
  EXPECT_EQ(found.models[0].id, "deepseek-v3.2");
  EXPECT_EQ(found.models[0].owner, "deepseek");
  EXPECT_EQ(found.models[1].context, 4096);
  EXPECT_TRUE(client.api.requests()[0].starts_with("GET /v1/models HTTP/1.1\r\n"));
  EXPECT_EQ(client.completer.models().error->kind, Kind::kAuth);
  EXPECT_EQ(client.completer.models().error->kind, Kind::kProtocol);
  EXPECT_EQ(client.completer.get(client.api.url("/api/stats/overview")).body, R"({"balance":5})");
  EXPECT_EQ(client.completer.models().error->kind, Kind::kServer);
  EXPECT_EQ(client.api.requests().size(), 5U);  // one attempt each
}

TEST(Completer, EmbedsInTheOrderOfTheTexts) {
  Client client(
      {says("500 Internal Server Error", ""),
       says(
           "200 OK",
           R"({"model":"e-1","data":[{"index":1,"embedding":[3,4.5]},{"index":0,"embedding":[1,2]}],"usage":{"prompt_tokens":7}})"),
       says("200 OK", R"({"data":[{"index":0,"embedding":[1,2]}]})"),
       says("200 OK", R"({"data":[{"index":0,"embedding":[1,2]},{"index":0,"embedding":[1,2]}]})"),
       says("200 OK", R"({"data":[{"embedding":[1,2]},{"embedding":[1]}]})"),
       says("200 OK", R"({"data":[{"embedding":[1,2]},{"embedding":"AAAA"}]})")});
  const EmbeddingsOutcome outcome = client.completer.embed({"a", "b"}, "bge");
  ASSERT_FALSE(outcome.error) << outcome.error->message;
  EXPECT_EQ(outcome.vectors, (std::vector<std::vector<float>>{{1, 2}, {3, 4.5}}));
  EXPECT_EQ(outcome.usage.prompt_tokens, 7);
  EXPECT_EQ(outcome.served.model, "e-1");
  EXPECT_EQ(client.clock.waits, (std::vector<int64_t>{500}));
  EXPECT_EQ(Json::parse(body_of(client.api.requests()[1])),
            Json::parse(R"({"model":"bge","input":["a","b"],"encoding_format":"float"})"));
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(client.completer.embed({"a", "b"}, "bge").error->kind, Kind::kProtocol);
  }
}

TEST(Completer, ServesManyThreadsAtOnce) {
  Client client({streams(kHello)});
  std::vector<std::thread> threads;
  threads.reserve(8);
  std::atomic<int> whole = 0;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 5; ++j) {
        const ApiOutcome outcome = client.completer.complete(request_of("Hi"), "m", {});
        whole += outcome && outcome.completion.text == "Hello, you" ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(whole, 40);
}

}  // namespace
}  // namespace tern
