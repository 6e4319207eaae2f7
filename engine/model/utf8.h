#pragma once
// UTF-8, one character at a time, for text that may not be UTF-8 at all.

#include <cstddef>
#include <string_view>

namespace tern {

enum class Utf8Kind {
  kValid,    // a whole character
  kInvalid,  // bytes that cannot begin or go on as a character
  kCut,      // a correct beginning, but the text ends before the character does
};

struct Utf8Char {
  Utf8Kind kind;
  // Bytes; of an invalid one the longest correct beginning, at least 1 (Unicode 3.9, practice for
  // U+FFFD).
  size_t length;
  char32_t codepoint;  // only if valid
};

// The first character of `text`, which must not be empty. Overlong forms, surrogates and values
// above U+10FFFF are invalid.
Utf8Char first_utf8(std::string_view text);

}  // namespace tern
