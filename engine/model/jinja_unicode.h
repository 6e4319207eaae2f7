#pragma once
// Strings as Python sees them: sequences of code points, here held as UTF-8. A byte that is no part
// of valid UTF-8 counts as one character, so that every text has a length and keeps its bytes.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace tern::jinja {

// Bytes of the character at `at`, which is below text.size().
size_t char_size(std::string_view text, size_t at);
// The code point there; U+FFFD for an invalid byte.
uint32_t code_point(std::string_view text, size_t at);
size_t char_count(std::string_view text);
// The byte at which character `index` begins; text.size() if there are fewer.
size_t byte_offset(std::string_view text, size_t index);
void append_utf8(std::string& out, uint32_t code);

bool is_white_space(uint32_t code);
// Where the text begins (ends) without its leading (trailing) white space.
size_t trimmed_left(std::string_view text);
size_t trimmed_right(std::string_view text);
// The same for a set of characters, given as a text.
size_t trimmed_left(std::string_view text, std::string_view chars);
size_t trimmed_right(std::string_view text, std::string_view chars);

// Lines as Python's str.splitlines() sees them: Unicode's line breaks too, and none after the last
// one. `line` is told where each begins and ends.
void split_lines(std::string_view text, bool keep_ends,
                 const std::function<void(size_t begin, size_t end)>& line);

std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string capitalized(std::string_view text);
// Every run of letters capitalised, as Python's str.title() does.
std::string to_title(std::string_view text);

bool is_alpha(uint32_t code);
bool is_digit(uint32_t code);
bool is_printable(uint32_t code);  // repr() shows it as it is

}  // namespace tern::jinja
