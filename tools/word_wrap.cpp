#include "tools/word_wrap.h"

#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

namespace tern::cli {
namespace {

constexpr size_t kTab = 8;

}  // namespace

std::string WordWrap::push(std::string_view piece) {
  if (width_ == 0) {
    return std::string(piece);
  }
  std::string out;
  for (size_t at = 0; at < piece.size();) {
    int32_t character = 0;
    const auto* bytes = reinterpret_cast<const uint8_t*>(piece.data()) + at;
    const auto rest = static_cast<utf8proc_ssize_t>(piece.size() - at);
    const utf8proc_ssize_t length = utf8proc_iterate(bytes, rest, &character);
    const size_t size = length > 0 ? static_cast<size_t>(length) : 1;
    const std::string_view text = piece.substr(at, size);
    at += size;
    if (text == "\n") {
      place_word(out);
      out += blanks_ + "\n";
      blanks_.clear();
      column_ = 0;
    } else if (text == " " || text == "\t") {
      place_word(out);
      blanks_ += text;
    } else {
      const int columns = length > 0 ? utf8proc_charwidth(character) : 1;
      word_ += text;
      word_columns_ += static_cast<size_t>(columns);
      // Scripts without blanks may break after each wide character, and a word longer than a line must somewhere.
      if (columns == 2 || word_columns_ >= width_) {
        place_word(out);
      }
    }
  }
  return out;
}

std::string WordWrap::finish() {
  std::string out;
  place_word(out);
  out += blanks_;
  blanks_.clear();
  column_ = 0;
  return out;
}

void WordWrap::place_word(std::string& out) {
  if (word_.empty()) {
    return;
  }
  size_t gap = 0;
  for (const char blank : blanks_) {
    gap += blank == '\t' ? kTab - (column_ + gap) % kTab : 1;
  }
  if (column_ > 0 && column_ + gap + word_columns_ > width_) {
    out += "\n";  // in place of the blanks
    column_ = 0;
  } else {
    out += blanks_;
    column_ += gap;
  }
  blanks_.clear();
  out += word_;
  column_ += word_columns_;
  word_.clear();
  word_columns_ = 0;
}

size_t terminal_columns() {
  struct winsize size {};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

}  // namespace tern::cli
