#pragma once
// Text that comes in pieces, broken between words where a terminal would break it within one.

#include <string>
#include <string_view>

namespace tern::cli {

class WordWrap {
 public:
  // `width`: the terminal's columns; 0: nothing is changed.
  explicit WordWrap(size_t width) : width_(width) {}

  // What can be shown now: a word waits until it is whole, for only then is it known whether it fits. The pieces are whole
  // UTF-8 characters.
  std::string push(std::string_view piece);
  // What still waits.
  std::string finish();

 private:
  void place_word(std::string& out);

  size_t width_;
  size_t column_ = 0;   // of what was shown
  std::string blanks_;  // after it
  std::string word_;    // begun
  size_t word_columns_ = 0;
};

// Columns of the terminal on standard output; 0 if it is none.
size_t terminal_columns();

}  // namespace tern::cli
