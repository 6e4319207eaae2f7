#include "tools/text_input.h"

#include "engine/base/input_file.h"

namespace tern::cli {

std::string without_byte_order_mark(std::string text) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  text.erase(0, text.starts_with(kMark) ? kMark.size() : 0);
  return text;
}

std::string without_last_newline(std::string text) {
  if (text.ends_with('\n')) {
    text.pop_back();
  }
  if (text.ends_with('\r')) {
    text.pop_back();
  }
  return text;
}

Result<std::string> read_text_input(const std::string& path, size_t limit) {
  ASSIGN_OR_RETURN(std::string text, read_stream_or_file(path, limit));
  return without_byte_order_mark(std::move(text));
}

}  // namespace tern::cli
