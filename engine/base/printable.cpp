#include "engine/base/printable.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <utility>

namespace tern {
namespace {

struct Lead {
  size_t length;
  uint8_t low,
      high;  // bounds of the second byte; they exclude overlong forms, surrogates and what lies beyond U+10FFFF
};

// What the first byte of a character says of the others; nothing if no character begins so.
std::optional<Lead> lead_of(uint8_t first) {
  if (first < 0x80) {
    return Lead{1, 0, 0};
  }
  if (first < 0xC2 || first > 0xF4) {
    return {};
  }
  if (first < 0xE0) {
    return Lead{2, 0x80, 0xBF};
  }
  if (first < 0xF0) {
    return Lead{3, static_cast<uint8_t>(first == 0xE0 ? 0xA0 : 0x80),
                static_cast<uint8_t>(first == 0xED ? 0x9F : 0xBF)};
  }
  return Lead{4, static_cast<uint8_t>(first == 0xF0 ? 0x90 : 0x80),
              static_cast<uint8_t>(first == 0xF4 ? 0x8F : 0xBF)};
}

struct Front {
  size_t length = 0;        // of the character; 0: there is none
  bool unfinished = false;  // more bytes could make one
};

Front front_of(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const std::optional<Lead> lead = text.empty() ? std::nullopt : lead_of(byte(0));
  if (!lead) {
    return {};
  }
  for (size_t i = 1; i < lead->length; ++i) {
    if (i == text.size()) {
      return {0, true};
    }
    const bool fits =
        i == 1 ? byte(1) >= lead->low && byte(1) <= lead->high : (byte(i) & 0xC0U) == 0x80;
    if (!fits) {
      return {};
    }
  }
  return {lead->length, false};
}

char32_t character_of(std::string_view bytes) {
  constexpr std::array<uint8_t, 5> kBitsOfLead = {0, 0x7F, 0x1F, 0x0F, 0x07};
  char32_t value = static_cast<uint8_t>(bytes[0]) & kBitsOfLead[bytes.size()];
  for (const char c : bytes.substr(1)) {
    value = value << 6U | (static_cast<uint8_t>(c) & 0x3FU);
  }
  return value;
}

std::string hex(uint32_t value, size_t digits) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out(digits, '0');
  for (size_t i = digits; i > 0; --i, value >>= 4U) {
    out[i - 1] = kDigits[value & 15U];
  }
  return out;
}

std::string escaped(char32_t character) {
  return character < 0x80 ? "\\x" + hex(character, 2) : "\\u" + hex(character, 4);
}

struct Taken {
  std::string_view bytes;
  std::optional<char32_t> character;  // none: a byte that belongs to none
};

// Takes one character, or one byte that is none, from the front of `text`.
Taken take(std::string_view& text) {
  const size_t length = front_of(text).length;
  Taken taken{text.substr(0, std::max<size_t>(length, 1)), {}};
  text.remove_prefix(taken.bytes.size());
  if (length > 0) {
    taken.character = character_of(taken.bytes);
  }
  return taken;
}

std::string shown(const Taken& taken, bool keep_lines) {
  if (!taken.character) {
    return "\\x" + hex(static_cast<uint8_t>(taken.bytes[0]), 2);
  }
  const char32_t character = *taken.character;
  const bool line = character == '\n' || character == '\t';
  if (!is_control(character) || (line && keep_lines)) {
    return std::string(taken.bytes);
  }
  return line ? character == '\n' ? "\\n" : "\\t" : escaped(character);
}

}  // namespace

bool is_control(char32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x061C || c == 0x200E || c == 0x200F ||
         (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

void for_each_character(
    std::string_view text,
    const std::function<bool(std::string_view bytes, std::optional<char32_t> character)>& each) {
  bool going = true;
  while (going && !text.empty()) {
    const Taken taken = take(text);
    going = each(taken.bytes, taken.character);
  }
}

std::string printable_lines(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    out += shown(take(text), true);
  }
  return out;
}

std::string printable_line(std::string_view text, size_t limit) {
  std::string out;
  while (!text.empty()) {
    const std::string piece = shown(take(text), false);
    if (out.size() + piece.size() > limit) {
      return out + "...";
    }
    out += piece;
  }
  return out;
}

std::string PrintableStream::add(std::string_view piece) {
  const std::string whole = std::exchange(waiting_, {}) + std::string(piece);
  std::string_view text = whole;
  std::string out;
  while (!text.empty() && !front_of(text).unfinished) {
    out += shown(take(text), true);
  }
  waiting_ = text;
  return out;
}

std::string PrintableStream::finish() {
  return printable_lines(std::exchange(waiting_, {}));
}

}  // namespace tern
