#include "engine/model/tokenizer_vocab.h"

#include <array>
#include <utility>

#include "engine/model/utf8.h"

namespace tern {
namespace {

constexpr size_t kByteLevelAlphabet =
    256 + 68;  // 68 bytes do not print and are written as U+0100 and up

constexpr bool prints_in_latin1(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

// codepoint -> byte, or -1.
constexpr std::array<int16_t, kByteLevelAlphabet> byte_level_table() {
  std::array<int16_t, kByteLevelAlphabet> table{};
  size_t next = 256;
  for (unsigned codepoint = 0; codepoint < 256; ++codepoint) {
    table[codepoint] = -1;
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    table[prints_in_latin1(byte) ? byte : next++] = static_cast<int16_t>(byte);
  }
  return table;
}

constexpr auto kByteOfCodepoint = byte_level_table();

int hex_digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

}  // namespace

std::string byte_level_decode(std::string_view spelling) {
  std::string bytes;
  bytes.reserve(spelling.size());
  while (!spelling.empty()) {
    const Utf8Char c = first_utf8(spelling);
    const bool in_alphabet = c.kind == Utf8Kind::kValid && c.codepoint < kByteLevelAlphabet &&
                             kByteOfCodepoint[c.codepoint] >= 0;
    if (in_alphabet) {
      bytes.push_back(static_cast<char>(kByteOfCodepoint[c.codepoint]));
    } else {
      bytes.append(spelling.substr(0, c.length));
    }
    spelling.remove_prefix(c.length);
  }
  return bytes;
}

std::string sentencepiece_decode(std::string_view spelling, TokenType type) {
  if (type == TokenType::kByte && spelling.size() == 6 && spelling.starts_with("<0x")) {
    const int high = hex_digit(spelling[3]);
    const int low = hex_digit(spelling[4]);
    if (high >= 0 && low >= 0) {
      return std::string(1, static_cast<char>(high * 16 + low));
    }
  }
  constexpr std::string_view kSpace = "\xE2\x96\x81";
  std::string bytes;
  bytes.reserve(spelling.size());
  while (!spelling.empty()) {
    const bool space = spelling.starts_with(kSpace);
    bytes.push_back(space ? ' ' : spelling.front());
    spelling.remove_prefix(space ? kSpace.size() : 1);
  }
  return bytes;
}

void fill_vocabulary(const TokenizerData& data,
                     const std::function<std::string(std::string_view, TokenType)>& decode,
                     Vocabulary& vocabulary) {
  const size_t count = data.tokens.size();
  size_t total = 0;
  for (const std::string_view token : data.tokens) {
    total += 2 * token.size();  // decoding never makes a token longer
  }
  vocabulary.pool.reserve(total);
  const auto keep = [&](std::string_view text) {
    const size_t start = vocabulary.pool.size();
    vocabulary.pool.append(text);
    return std::string_view(vocabulary.pool).substr(start, text.size());
  };
  vocabulary.spellings.reserve(count);
  vocabulary.bytes.reserve(count);
  vocabulary.types.reserve(count);
  vocabulary.by_spelling.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const int64_t raw = data.types.empty() ? 1 : data.types[i];
    const TokenType type = raw >= 1 && raw <= 6 ? static_cast<TokenType>(raw) : TokenType::kNormal;
    const bool as_spelled = type == TokenType::kControl || type == TokenType::kUnknown;
    const std::string_view spelling = keep(data.tokens[i]);
    vocabulary.spellings.push_back(spelling);
    vocabulary.bytes.push_back(as_spelled ? spelling : keep(decode(spelling, type)));
    vocabulary.types.push_back(type);
    vocabulary.by_spelling.emplace(spelling, static_cast<TokenId>(i));
  }
}

}  // namespace tern
