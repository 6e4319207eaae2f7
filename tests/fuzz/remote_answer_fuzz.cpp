// Bodies of answers: server-sent events and JSON. However the network cuts a body, the same comes of it, and what the
// caller's sinks got is what is kept.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "remote/answer_reader.h"

namespace tern {
namespace {

void require(bool holds) {
  if (!holds) {
    std::abort();
  }
}

std::vector<std::string> events_of(std::string_view bytes, size_t piece) {
  SseParser parser;
  std::vector<std::string> events;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    parser.feed(bytes.substr(at, piece), [&](const SseEvent& event) {
      events.push_back(event.type + "\n" + event.data);
      require(event.type.find_first_of("\r\n") == std::string::npos);
      require(event.data.find('\r') == std::string::npos);
      return true;
    });
  }
  return events;
}

struct Read {
  AnswerReader::End end;
  std::string text;
  std::string reasoning;
  std::string words;
  std::string said;
  size_t calls = 0;

  bool operator==(const Read&) const = default;
};

Read read(std::string_view bytes, size_t piece) {
  Read result{};
  AnswerReader reader(
      [&](std::string_view text) {
        result.text += text;
        return true;
      },
      [&](std::string_view text) {
        result.reasoning += text;
        return true;
      });
  for (size_t at = 0; at < bytes.size() && reader.feed(bytes.substr(at, piece)); at += piece) {
  }
  result.end = reader.finish();
  result.words = reader.words();
  result.said = reader.error().message;
  require(result.text == reader.answer().text());
  require(result.reasoning == reader.answer().reasoning());
  require(result.end != AnswerReader::End::kNone);
  require(result.end != AnswerReader::End::kComplete || reader.answer().recognised());
  if (const auto completion = reader.answer().complete(0)) {
    result.calls = completion->tool_calls.size();
    require(completion->usage.completion_tokens >= 0 && completion->usage.prompt_tokens >= 0);
  }
  return result;
}

}  // namespace
}  // namespace tern

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tern;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  require(events_of(bytes, 1) == events_of(bytes, size + 1));
  const Read whole = read(bytes, size + 1);
  require(read(bytes, 1) == whole);
  require(read(bytes, 7) == whole);
  return 0;
}
