// Server-sent events. The streams and what they mean are the examples of the HTML standard (9.2.6), and its parsing rules.

#include "remote/sse.h"

#include <gtest/gtest.h>

#include <vector>

namespace tern {
namespace {

using Events = std::vector<std::pair<std::string, std::string>>;  // type, data

Events parsed(const std::vector<std::string_view>& pieces) {
  SseParser parser;
  Events events;
  for (const std::string_view piece : pieces) {
    EXPECT_TRUE(parser.feed(piece, [&](const SseEvent& event) {
      events.emplace_back(event.type, event.data);
      return true;
    }));
  }
  return events;
}

std::string with_line_ends(const std::string& stream, const std::string& line_end) {
  std::string text;
  for (const char c : stream) {
    text += c == '\n' ? line_end : std::string(1, c);
  }
  return text;
}

struct Example {
  const char* stream;
  Events events;
};

const Example kStandard[] = {
    {"data: YHOO\ndata: +2\ndata: 10\n\n", {{"message", "YHOO\n+2\n10"}}},
    {": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
     {{"message", "first event"}, {"message", "second event"}, {"message", " third event"}}},
    {"data\n\ndata\ndata\n\ndata:", {{"message", ""}, {"message", "\n"}}},
    {"data:test\n\ndata: test\n\n", {{"message", "test"}, {"message", "test"}}},
    {"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n",
     {{"add", "73857293"}, {"remove", "2153"}, {"add", "113411"}}},
};

// By the parsing rules: what is no event, what a field is, what outlives an event.
const Example kRules[] = {
    {"\xEF\xBB\xBF"
     "data: after a byte order mark\n\n",
     {{"message", "after a byte order mark"}}},
    {"\xEF\xBB\xBF\xEF\xBB\xBF"
     "data: two of them are a field of another name\n\n",
     {}},
    {"event: without data\n\ndata: x\n\n", {{"message", "x"}}},
    {"event: a\nevent: b\ndata: x\n\n", {{"b", "x"}}},
    {"DATA: x\ndatax: y\n data: z\nfoo\n\n", {}},
    {"data: a:b: c\n\n", {{"message", "a:b: c"}}},
    {"data:\tx\n\n", {{"message", "\tx"}}},
    {":\n: OPENROUTER PROCESSING\n:data: x\n\n\n\ndata: y\n\n", {{"message", "y"}}},
    {"retry: 1000\nid: 5\ndata: x\n\n", {{"message", "x"}}},
    {"data: Gr\xC3\xBC\xC3\x9F"
     "e \xF0\x9F\x8C\x8D\n\n",
     {{"message",
       "Gr\xC3\xBC\xC3\x9F"
       "e \xF0\x9F\x8C\x8D"}}},
    {"data: the end is missing\n", {}},
    {"", {}},
};

void expect_in_any_pieces(const Example& example) {
  for (const char* line_end : {"\n", "\r", "\r\n"}) {
    const std::string stream = with_line_ends(example.stream, line_end);
    const Events expected = example.events;
    std::vector<std::string_view> bytes;
    for (size_t cut = 0; cut <= stream.size(); ++cut) {
      const std::string_view whole = stream;
      EXPECT_EQ(parsed({whole.substr(0, cut), whole.substr(cut)}), expected)
          << stream << " cut at " << cut;
      if (cut < stream.size()) {
        bytes.push_back(whole.substr(cut, 1));
      }
    }
    EXPECT_EQ(parsed(bytes), expected) << stream << " byte by byte";
  }
}

TEST(Sse, ReadsTheStandardsExamplesCutAnywhereWithAnyLineEnd) {
  for (const Example& example : kStandard) {
    expect_in_any_pieces(example);
  }
}

TEST(Sse, FollowsTheStandardsRules) {
  for (const Example& example : kRules) {
    expect_in_any_pieces(example);
  }
  // Mixed line ends: CR LF is one, LF CR are two.
  EXPECT_EQ(parsed({"data: a\r\n\rdata: b\n\r\ndata: c\r\r"}),
            (Events{{"message", "a"}, {"message", "b"}, {"message", "c"}}));
}

TEST(Sse, TakesLinesOfAnyLengthUpToItsBound) {
  const std::string line(3'000'000, 'x');
  EXPECT_EQ(parsed({"data: ", line, "\n\n"}), (Events{{"message", line}}));
  constexpr size_t kMost = 1000;
  // One line, and many lines of one event.
  for (const std::string& part : {std::string(100, 'x'), std::string("data: 4567890\n")}) {
    SseParser parser(kMost);
    size_t fed = 0;
    while (parser.feed(part, [](const SseEvent&) { return true; })) {
      fed += part.size();
      ASSERT_LE(fed, 2 * kMost);
    }
    EXPECT_TRUE(parser.too_long());
    EXPECT_FALSE(parser.feed("\n\n", [](const SseEvent&) { return true; }));
  }
}

TEST(Sse, StopsWhereItsCallerSays) {
  SseParser parser;
  int events = 0;
  const auto count = [&](const SseEvent&) { return ++events < 2; };
  EXPECT_FALSE(parser.feed("data: 1\n\ndata: 2\n\ndata: 3\n\n", count));
  EXPECT_FALSE(parser.feed("data: 4\n\n", count));
  EXPECT_EQ(events, 2);
  EXPECT_FALSE(parser.too_long());
}

}  // namespace
}  // namespace tern
