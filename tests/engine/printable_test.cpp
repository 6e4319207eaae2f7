#include "engine/base/printable.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

namespace tern {
namespace {

// What a character is in UTF-8, by the definition in RFC 3629.
std::string utf8(uint32_t code) {
  std::string out;
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | code >> 6);
    out += static_cast<char>(0x80 | (code & 63));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | code >> 12);
    out += static_cast<char>(0x80 | (code >> 6 & 63));
    out += static_cast<char>(0x80 | (code & 63));
  } else {
    out += static_cast<char>(0xF0 | code >> 18);
    out += static_cast<char>(0x80 | (code >> 12 & 63));
    out += static_cast<char>(0x80 | (code >> 6 & 63));
    out += static_cast<char>(0x80 | (code & 63));
  }
  return out;
}

TEST(Printable, ShowsWhatTerminalsObey) {
  EXPECT_EQ(printable_lines("\x1b]0;title\a \x1b[31m"), "\\x1B]0;title\\x07 \\x1B[31m");
  EXPECT_EQ(printable_lines("a\rb\bc\x7F"), "a\\x0Db\\x08c\\x7F");
  EXPECT_EQ(printable_lines(std::string_view("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(printable_lines("\xC2\x9B"
                            "31m"),
            "\\u009B31m");
  EXPECT_EQ(printable_lines("\xE2\x80\xAEtxt.exe"), "\\u202Etxt.exe");
  EXPECT_EQ(printable_lines("line\n\tindented\n"), "line\n\tindented\n");
  EXPECT_EQ(printable_line("line\n\tindented\x1b", 80), "line\\n\\tindented\\x1B");
  EXPECT_EQ(printable_line("abcdef", 3), "abc...");
  EXPECT_EQ(printable_line("ab\xC3\xA9", 3), "ab...");  // a character is not cut
}

// Each character alone: escaped if it is in the list, else unchanged.
TEST(Printable, KeepsEveryOtherCharacter) {
  const auto listed = [](uint32_t code) {
    return (code < 0x20 && code != '\n' && code != '\t') || (code >= 0x7F && code <= 0x9F) ||
           code == 0x200E || code == 0x200F || (code >= 0x202A && code <= 0x202E) ||
           (code >= 0x2066 && code <= 0x2069) || code == 0x061C;
  };
  for (uint32_t code = 0; code <= 0x10FFFF; ++code) {
    if (code >= 0xD800 && code <= 0xDFFF) {
      continue;
    }
    const std::string shown = printable_lines(utf8(code));
    ASSERT_EQ(shown == utf8(code), !listed(code)) << code;
    ASSERT_EQ(listed(code), shown.starts_with('\\') && shown.size() >= 4) << code;
  }
}

TEST(Printable, EscapesBytesThatAreNoUtf8) {
  EXPECT_EQ(printable_lines("\xC3("), "\\xC3(");
  EXPECT_EQ(printable_lines("\x9B"), "\\x9B");                             // C1 as a byte
  EXPECT_EQ(printable_lines("\xC1\x9B"), "\\xC1\\x9B");                    // overlong
  EXPECT_EQ(printable_lines("\xE0\x80\x9B"), "\\xE0\\x80\\x9B");           // overlong
  EXPECT_EQ(printable_lines("\xED\xA0\x80"), "\\xED\\xA0\\x80");           // a surrogate
  EXPECT_EQ(printable_lines("\xF4\x90\x80\x80"), "\\xF4\\x90\\x80\\x80");  // beyond U+10FFFF
  EXPECT_EQ(printable_lines("\xE2\x82"), "\\xE2\\x82");                    // cut off
  EXPECT_EQ(printable_lines("\xE2\x82\x1b"), "\\xE2\\x82\\x1B");
}

// Wherever a text is cut into pieces, the same comes out.
TEST(PrintableStream, DoesNotDependOnTheCuts) {
  const std::string text =
      "a\xE2\x80\xAE\xF0\x9F\x98\x80\xC2\x9B\x1b[m\xC3\xA9\xE2\x80z\xF0\x9F\x98";
  const std::string whole = printable_lines(text);
  for (size_t first = 0; first <= text.size(); ++first) {
    for (size_t second = first; second <= text.size(); ++second) {
      PrintableStream stream;
      std::string out = stream.add(text.substr(0, first));
      out += stream.add(text.substr(first, second - first));
      out += stream.add(text.substr(second));
      out += stream.finish();
      ASSERT_EQ(out, whole) << first << " " << second;
    }
  }
}

TEST(PrintableStream, HoldsBackOnlyWhatMayBecomeACharacter) {
  PrintableStream stream;
  EXPECT_EQ(stream.add("h\xC3"), "h");
  EXPECT_EQ(stream.add("\xA9"), "\xC3\xA9");
  EXPECT_EQ(stream.add("\xE2\x80"), "");
  EXPECT_EQ(stream.add("!"), "\\xE2\\x80!");
  EXPECT_EQ(stream.finish(), "");
}

}  // namespace
}  // namespace tern
