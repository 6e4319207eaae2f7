#pragma once
// Server-sent events, as the HTML standard defines their parsing, from pieces cut anywhere.

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace tern {

struct SseEvent {
  std::string type = "message";
  std::string data;
};

// Lines end with CR, LF or CRLF; a byte order mark at the start, comments and unknown fields are passed over. `id` and `retry` are for
// clients that reconnect, which an answer of a model does not allow: they are passed over too. An event that the stream's end
// cuts is never dispatched.
class SseParser {
 public:
  // One event, and one line, may have this many bytes: a whole answer of a hundred thousand lines, far above any chunk.
  static constexpr size_t kMostEventBytes = size_t{64} << 20;

  // Returning false ends the parsing for good.
  using OnEvent = std::function<bool(const SseEvent&)>;

  explicit SseParser(size_t most_event_bytes = kMostEventBytes) : most_(most_event_bytes) {}

  // False once `on_event` has said so, or an event is too long.
  bool feed(std::string_view bytes, const OnEvent& on_event);

  bool too_long() const { return too_long_; }

 private:
  bool end_line(const OnEvent& on_event);
  bool dispatch(const OnEvent& on_event);

  size_t most_;
  std::string line_;
  std::string type_;
  std::string data_;  // each line of data with a line feed after it
  bool first_line_ = true;
  bool after_cr_ = false;  // a line feed that comes now belongs to the line end before it
  bool stopped_ = false;
  bool too_long_ = false;
};

}  // namespace tern
