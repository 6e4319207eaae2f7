#include "remote/sse.h"

namespace tern {

bool SseParser::feed(std::string_view bytes, const OnEvent& on_event) {
  while (!bytes.empty() && !stopped_) {
    if (after_cr_ && bytes.front() == '\n') {
      bytes.remove_prefix(1);
    }
    after_cr_ = false;
    const size_t end = bytes.find_first_of("\r\n");
    const std::string_view part = bytes.substr(0, end);
    if (line_.size() + data_.size() + part.size() > most_) {
      too_long_ = true;
      stopped_ = true;
      break;
    }
    line_ += part;
    if (end == std::string_view::npos) {
      break;
    }
    after_cr_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    stopped_ = !end_line(on_event);
    line_.clear();
  }
  return !stopped_;
}

bool SseParser::end_line(const OnEvent& on_event) {
  std::string_view line = line_;
  if (first_line_ && line.starts_with("\xEF\xBB\xBF")) {
    line.remove_prefix(3);
  }
  first_line_ = false;
  if (line.empty()) {
    return dispatch(on_event);
  }
  const size_t colon = line.find(':');
  const std::string_view field = line.substr(0, colon);  // empty: a comment
  std::string_view value =
      colon == std::string_view::npos ? std::string_view() : line.substr(colon + 1);
  if (value.starts_with(' ')) {
    value.remove_prefix(1);
  }
  if (field == "event") {
    type_ = value;
  } else if (field == "data") {
    data_ += value;
    data_ += '\n';
  }
  return true;
}

bool SseParser::dispatch(const OnEvent& on_event) {
  SseEvent event;
  if (!type_.empty()) {
    event.type = std::move(type_);
  }
  event.data = std::move(data_);
  type_.clear();
  data_.clear();
  if (event.data.empty()) {
    return true;
  }
  event.data.pop_back();
  return on_event(event);
}

}  // namespace tern
