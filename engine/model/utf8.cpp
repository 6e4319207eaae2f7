#include "engine/model/utf8.h"

#include <algorithm>

#include "engine/base/check.h"

namespace tern {
namespace {

// What may follow a lead byte (Unicode standard, table 3-7): only the second byte has a narrowed
// range.
struct Lead {
  size_t length;
  unsigned second_low, second_high;
};

Lead lead_of(unsigned byte) {
  if (byte < 0x80) {
    return {1, 0, 0};
  }
  if (byte >= 0xC2 && byte <= 0xDF) {
    return {2, 0x80, 0xBF};
  }
  if (byte >= 0xE0 && byte <= 0xEF) {
    return {3, byte == 0xE0 ? 0xA0u : 0x80u, byte == 0xED ? 0x9Fu : 0xBFu};
  }
  if (byte >= 0xF0 && byte <= 0xF4) {
    return {4, byte == 0xF0 ? 0x90u : 0x80u, byte == 0xF4 ? 0x8Fu : 0xBFu};
  }
  return {0, 0, 0};
}

}  // namespace

Utf8Char first_utf8(std::string_view text) {
  TERN_CHECK(!text.empty(), "a character of an empty text");
  const auto at = [&](size_t i) {
    return static_cast<unsigned>(static_cast<unsigned char>(text[i]));
  };
  const Lead lead = lead_of(at(0));
  if (lead.length <= 1) {
    return {lead.length == 1 ? Utf8Kind::kValid : Utf8Kind::kInvalid, 1, at(0)};
  }
  char32_t codepoint = at(0) & (0x7Fu >> lead.length);
  for (size_t i = 1; i < lead.length; ++i) {
    if (i == text.size()) {
      return {Utf8Kind::kCut, i, 0};
    }
    const bool fits =
        i == 1 ? at(i) >= lead.second_low && at(i) <= lead.second_high : (at(i) & 0xC0u) == 0x80u;
    if (!fits) {
      return {Utf8Kind::kInvalid, i, 0};
    }
    codepoint = (codepoint << 6) | (at(i) & 0x3Fu);
  }
  return {Utf8Kind::kValid, lead.length, codepoint};
}

}  // namespace tern
