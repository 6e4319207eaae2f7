#pragma once
// Text of strangers, made fit for a message.

#include <string>
#include <string_view>

namespace tern {

// One line of UTF-8 of at most `most` bytes: what terminals would obey, and line breaks, become single spaces, bytes that are no
// UTF-8 become U+FFFD.
std::string plain_line(std::string_view text, size_t most);

}  // namespace tern
