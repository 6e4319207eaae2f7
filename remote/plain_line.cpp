#include "remote/plain_line.h"

#include "engine/base/printable.h"

namespace tern {

std::string plain_line(std::string_view text, size_t most) {
  constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD
  std::string line;
  for_each_character(text, [&](std::string_view bytes, std::optional<char32_t> character) {
    const bool space = character && (is_control(*character) || *character == ' ');
    const std::string_view shown = !character ? kReplacement : space ? " " : bytes;
    if (space && (line.empty() || line.back() == ' ')) {
      return true;
    }
    if (line.size() + shown.size() > most) {
      return false;
    }
    line += shown;
    return true;
  });
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

}  // namespace tern
