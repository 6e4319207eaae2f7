#include "remote/answer_reader.h"

#include <algorithm>

#include "engine/base/json_text.h"

namespace tern {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::string_view kSpaces = " \t\r\n";
// Of a page only its title is of interest.
constexpr size_t kMostPageBytes = size_t{16} << 10;

std::string too_long(const char* what, size_t bytes) {
  return std::string(what) + " is longer than " + std::to_string(bytes >> 20) +
         " MiB, which no model writes";
}

}  // namespace

AnswerReader::AnswerReader(Completer::Sink text, Completer::Sink reasoning, size_t most_bytes)
    : text_(std::move(text)), reasoning_(std::move(reasoning)), most_bytes_(most_bytes) {}

bool AnswerReader::end(End end, std::string words) {
  end_ = end;
  words_ = std::move(words);
  return false;
}

// Decides what the body is, once its first character is there; false: not yet.
bool AnswerReader::recognise(std::string_view bytes) {
  body_ += bytes;
  std::string_view begin = body_;
  if (begin.size() < kByteOrderMark.size() && kByteOrderMark.starts_with(begin)) {
    return false;
  }
  if (begin.starts_with(kByteOrderMark)) {
    begin.remove_prefix(kByteOrderMark.size());
  }
  const size_t first = begin.find_first_not_of(kSpaces);
  if (first == std::string_view::npos) {
    body_.resize(std::min(body_.size(), kMostPageBytes));  // blanks without end
    return false;
  }
  const char c = begin[first];
  kind_ = c == '{' || c == '[' ? Kind::kJson : c == '<' ? Kind::kPage : Kind::kEvents;
  return true;
}

bool AnswerReader::feed(std::string_view bytes) {
  if (end_ != End::kNone) {
    return false;
  }
  std::string held;
  if (kind_ == Kind::kUnknown) {
    if (!recognise(bytes)) {
      return true;
    }
    held = std::move(body_);
    body_.clear();
    bytes = held;
  }
  if (kind_ == Kind::kEvents) {
    const auto on_event = [this](const SseEvent& event) { return take_event(event); };
    if (!events_.feed(bytes, on_event) && events_.too_long()) {
      return end(End::kNonsense, too_long("one event", SseParser::kMostEventBytes));
    }
    return end_ == End::kNone;
  }
  body_ += bytes;
  if (kind_ == Kind::kPage) {
    return body_.size() < kMostPageBytes;
  }
  return body_.size() <= most_bytes_ || end(End::kNonsense, too_long("the answer", most_bytes_));
}

bool AnswerReader::take_event(const SseEvent& event) {
  if (done_ || event.data.starts_with("[DONE]")) {
    done_ = true;  // whatever comes after it counts no more
    return true;
  }
  const size_t first = event.data.find_first_not_of(kSpaces);
  const bool object = first != std::string::npos && event.data[first] == '{';
  const nlohmann::json value = object ? parse_json(event.data) : nlohmann::json();
  if (event.type == "error") {
    error_ = read_error_body(event.data);
    return end(End::kRefused);
  }
  if (!object) {
    return true;  // "ping" and the like: no chunk begins so, and nothing of the text is lost
  }
  if (value.is_discarded()) {
    return end(End::kNonsense, "a chunk of the answer is damaged, so that text is missing");
  }
  return take(value);
}

bool AnswerReader::take(const nlohmann::json& value) {
  ChatAnswer::News news = answer_.take(value);
  if (!give(reasoning_, news.reasoning) || !give(text_, news.text)) {
    return end(End::kStopped);
  }
  if (news.error) {
    error_ = std::move(*news.error);
    return end(End::kRefused);
  }
  return answer_.size() <= most_bytes_ || end(End::kNonsense, too_long("the answer", most_bytes_));
}

bool AnswerReader::give(const Completer::Sink& sink, const std::string& piece) {
  if (piece.empty() || !sink) {
    return true;
  }
  delivered_ = true;
  return sink(piece);
}

AnswerReader::End AnswerReader::finish_json() {
  std::string_view text = body_;
  if (text.starts_with(kByteOrderMark)) {
    text.remove_prefix(kByteOrderMark.size());
  }
  const nlohmann::json value = parse_json(text);
  if (value.is_discarded()) {
    end(End::kCut, "the answer is no whole JSON");
  } else if (!take(value)) {
    return end_;
  } else if (!answer_.recognised()) {
    end(End::kNonsense, "expected a chat completion; found other JSON");
  } else {
    end(End::kComplete);
  }
  return end_;
}

AnswerReader::End AnswerReader::finish() {
  if (end_ != End::kNone) {
    return end_;
  }
  if (kind_ == Kind::kJson) {
    return finish_json();
  }
  if (kind_ == Kind::kPage) {
    end(End::kNonsense, "expected JSON or events; found a page of HTML, \"" +
                            read_error_body(body_).message + "\"");
  } else if (finished() && answer_.recognised()) {
    end(End::kComplete);
  } else if (!answer_.recognised()) {
    end(End::kCut, "there is no answer in it");
  } else {
    end(End::kCut, "the stream ended without its end marker, so that the text is not complete");
  }
  return end_;
}

}  // namespace tern
