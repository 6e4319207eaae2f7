#pragma once
// Text of strangers (files, servers, arguments), made fit for a person's eyes. Terminals obey control characters, and
// bidirectional controls show a text in another order than it has; both are shown as \x1B or \u202E instead, and so is every
// byte that is no UTF-8 (RFC 3629: overlong forms and surrogates are none).

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace tern {

// Whether a terminal may obey this character rather than show it: controls of C0 (line feed and tab too) and C1, DEL, and
// marks, embeddings, overrides and isolates of text direction.
bool is_control(char32_t character);

// Calls `each` for every character in turn, and for every byte that belongs to none (without a character), until it returns false.
void for_each_character(
    std::string_view text,
    const std::function<bool(std::string_view bytes, std::optional<char32_t> character)>& each);

// A text of several lines: line feeds and tabs stay.
std::string printable_lines(std::string_view text);

// One line, to be quoted in a message: line feeds and tabs are escaped too. Cut at `limit` bytes, with "..." for the rest.
std::string printable_line(std::string_view text, size_t limit);

// printable_lines() of a text that comes in pieces, cut anywhere: what may be the beginning of a character waits for its end.
class PrintableStream {
 public:
  std::string add(std::string_view piece);
  // The end of the text: what still waits is no character.
  std::string finish();

 private:
  std::string waiting_;
};

}  // namespace tern
