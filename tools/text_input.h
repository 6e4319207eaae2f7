#pragma once
// Text that a person names or pipes in.

#include <string>

#include "engine/base/result.h"

namespace tern::cli {

// The text of a file or a pipe, or of standard input for "-", without the mark that some editors put before it (U+FEFF).
Result<std::string> read_text_input(const std::string& path, size_t limit = size_t{64} << 20);

// Without that mark.
std::string without_byte_order_mark(std::string text);
// Without the line end that editors and echo put after a text: the text would go on in a new line.
std::string without_last_newline(std::string text);

}  // namespace tern::cli
