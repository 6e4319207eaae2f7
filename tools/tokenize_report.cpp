#include "tools/tokenize_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/io/tensor_file.h"
#include "engine/model/utf8.h"

namespace tern::cli {
namespace {

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const Utf8Char c = first_utf8(text);
    if (c.kind != Utf8Kind::kValid) {
      return false;
    }
    text.remove_prefix(c.length);
  }
  return true;
}

nlohmann::json piece_json(std::string_view piece) {
  if (is_utf8(piece)) {
    return piece;
  }
  auto bytes = nlohmann::json::array();
  for (const char byte : piece) {
    bytes.push_back(static_cast<unsigned char>(byte));
  }
  return bytes;
}

std::string aligned(TokenId id) {
  std::string digits = std::to_string(id);
  constexpr size_t kWidth = 6;
  return std::string(kWidth - std::min(kWidth, digits.size()), ' ') + digits;
}

}  // namespace

std::string tokenize_report(const Tokenizer& tokenizer, std::span<const TokenId> ids,
                            TokenStyle style) {
  std::string out;
  auto json = nlohmann::ordered_json::array();
  for (const TokenId id : ids) {
    const std::string_view piece = tokenizer.bytes_of(id, true);
    switch (style) {
      case TokenStyle::kPieces:
        out += aligned(id) + " -> '" + printable(piece, std::string::npos) + "'\n";
        break;
      case TokenStyle::kIds:
        out += (out.empty() ? "" : " ") + std::to_string(id);
        break;
      case TokenStyle::kJson:
        json.push_back({{"id", id}, {"piece", piece_json(piece)}});
        break;
    }
  }
  if (style == TokenStyle::kJson) {
    return json.dump() + "\n";
  }
  return style == TokenStyle::kIds ? out + "\n" : out;
}

}  // namespace tern::cli
