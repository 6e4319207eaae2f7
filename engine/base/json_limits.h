#pragma once
// How much JSON from outside may say.

#include <string_view>

namespace tern {

// Whether a text is beyond any model file or answer of a server: nested deeper than 64, or of more than 1,000,000 objects
// and lists or 4,000,000 other values. parse_json (json_text.h) discards such a text: the library prints and walks values
// recursively, and would run out of stack; and it keeps each value in many times the memory of its text.
bool exceeds_json_limits(std::string_view text);

}  // namespace tern
