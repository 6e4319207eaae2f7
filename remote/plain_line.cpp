#include "remote/plain_line.h"

#include <nlohmann/json.hpp>

namespace tern {
namespace {

using Json = nlohmann::json;

bool continues(char c) {
  return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U;
}

// The library's writer replaces what is no UTF-8, and its reader gives the text back.
std::string valid_utf8(std::string_view text) {
  return Json::parse(Json(text).dump(-1, ' ', false, Json::error_handler_t::replace))
      .get<std::string>();
}

}  // namespace

std::string plain_line(std::string_view text, size_t most) {
  const std::string valid = valid_utf8(text.substr(0, 2 * most));
  std::string line;
  for (size_t i = 0; i < valid.size();) {
    size_t end = i + 1;
    while (end < valid.size() && continues(valid[end])) {
      ++end;
    }
    const std::string_view character = std::string_view(valid).substr(i, end - i);
    const auto first = static_cast<unsigned char>(character[0]);
    // Controls of ASCII, and those of Latin-1 (C2 80 to C2 9F), of which one begins commands to terminals.
    const bool control = first <= 32 || first == 127 ||
                         (first == 0xC2 && static_cast<unsigned char>(character[1]) < 0xA0);
    if (line.size() + character.size() > most) {
      break;
    }
    if (!control) {
      line += character;
    } else if (!line.empty() && line.back() != ' ') {
      line += ' ';
    }
    i = end;
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

}  // namespace tern
