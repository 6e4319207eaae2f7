// Text of strangers made printable: nothing that a terminal obeys comes out, what held nothing of it is unchanged, and cuts into
// pieces change nothing. The first byte says where the rest is cut.

#include <cstdlib>
#include <string>

#include "engine/base/printable.h"

namespace {

void require(bool holds) {
  if (!holds) {
    std::abort();
  }
}

// Whether valid UTF-8 holds a control, by its bytes: C0 and DEL, C1 as C2 80 to C2 9F, and the controls of direction U+061C (D8
// 9C), U+200E, U+200F, U+202A to U+202E (E2 80 8E, 8F, AA to AE) and U+2066 to U+2069 (E2 81 A6 to A9).
bool has_control(const std::string& text, bool lines) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = [&](size_t k) {
      return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0U;
    };
    const bool line = lines && (byte(0) == '\n' || byte(0) == '\t');
    const bool direction =
        (byte(0) == 0xD8 && byte(1) == 0x9C) ||
        (byte(0) == 0xE2 && byte(1) == 0x80 &&
         (byte(2) == 0x8E || byte(2) == 0x8F || (byte(2) >= 0xAA && byte(2) <= 0xAE))) ||
        (byte(0) == 0xE2 && byte(1) == 0x81 && byte(2) >= 0xA6 && byte(2) <= 0xA9);
    if ((byte(0) < 0x20 && !line) || byte(0) == 0x7F ||
        (byte(0) == 0xC2 && byte(1) >= 0x80 && byte(1) < 0xA0) || direction) {
      return true;
    }
  }
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) {
    return 0;
  }
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t cut = data[0] % (text.size() + 1);
  const std::string shown = tern::printable_lines(text);
  require(!has_control(shown, true));
  require(!has_control(tern::printable_line(text, 80), false));
  // What came out is valid, so it comes out again as it is.
  require(tern::printable_lines(shown) == shown);
  // Only escapes make a text longer, and each has a backslash.
  require(shown == text || shown.find('\\') != std::string::npos);
  tern::PrintableStream stream;
  std::string pieces = stream.add(text.substr(0, cut));
  require(!has_control(pieces, true));
  pieces += stream.add(text.substr(cut));
  pieces += stream.finish();
  require(pieces == shown);
  return 0;
}
