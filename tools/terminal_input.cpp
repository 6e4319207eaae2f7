#include "tools/terminal_input.h"

#include <charconv>

namespace tern::cli {
namespace {

constexpr unsigned char kEscape = 0x1b;
// A terminal sends the bytes of a sequence together; a person needs longer for the next key.
constexpr int kWithinSequence = 100;  // milliseconds
// A paste whose end does not come is over after this silence.
constexpr int kWithinPaste = 3000;

bool is_final(unsigned char byte) {
  return byte >= 0x40 && byte <= 0x7e;
}

// The number at the beginning, 0 if there is none.
int leading_number(std::string_view text) {
  int number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// "1;5" is a key with Ctrl, "5" is what some terminals write instead; 0: none is held.
int modifier_of(const std::string& parameters) {
  const size_t semicolon = parameters.find(';');
  return semicolon == std::string::npos
             ? 0
             : leading_number(std::string_view(parameters).substr(semicolon + 1));
}

std::optional<KeyPress> arrow(unsigned char final, bool with_modifier) {
  switch (final) {
    case 'A':
      return KeyPress{Key::kUp};
    case 'B':
      return KeyPress{Key::kDown};
    case 'C':
      return KeyPress{with_modifier ? Key::kWordRight : Key::kRight};
    case 'D':
      return KeyPress{with_modifier ? Key::kWordLeft : Key::kLeft};
    case 'H':
      return KeyPress{Key::kHome};
    case 'F':
      return KeyPress{Key::kEnd};
    default:
      return std::nullopt;
  }
}

// Line ends as text has them; other control characters have no place in a message.
std::string clean_paste(const std::string& raw) {
  std::string text;
  for (size_t i = 0; i < raw.size(); ++i) {
    const auto byte = static_cast<unsigned char>(raw[i]);
    if (byte == '\r') {
      text += '\n';
      i += i + 1 < raw.size() && raw[i + 1] == '\n' ? 1U : 0U;
    } else if (byte >= 0x20 || byte == '\n' || byte == '\t') {
      text += byte == 0x7f ? std::string() : std::string(1, raw[i]);
    }
  }
  if (text.ends_with('\n')) {
    text.pop_back();  // of the last line, which Enter ends
  }
  return text;
}

}  // namespace

std::optional<KeyPress> TerminalInput::next() {
  while (true) {
    const std::optional<unsigned char> byte = source_(-1);
    if (!byte) {
      return std::nullopt;
    }
    if (*byte != kEscape) {
      return KeyPress{Key::kCharacter, read_character(*byte)};
    }
    if (std::optional<KeyPress> key = read_escape()) {
      return key;
    }
  }
}

// What follows an Escape. Nothing: it means nothing here.
std::optional<KeyPress> TerminalInput::read_escape() {
  const std::optional<unsigned char> byte = source_(kWithinSequence);
  if (!byte) {
    return std::nullopt;  // the key Escape alone
  }
  switch (*byte) {
    case '[':
      return read_sequence();
    case 'O':
      return read_single(source_(kWithinSequence).value_or(0));
    case ']':
    case 'P':
    case '_':
    case '^':
    case 'X':
      skip_string();
      return std::nullopt;
    default:
      return read_alt(*byte);
  }
}

std::optional<KeyPress> TerminalInput::read_sequence() {
  std::string parameters;
  std::optional<unsigned char> byte = source_(kWithinSequence);
  while (byte && !is_final(*byte)) {
    if (*byte == kEscape) {
      return read_escape();  // the sequence was cut off
    }
    parameters += static_cast<char>(*byte);
    byte = source_(kWithinSequence);
  }
  if (!byte) {
    return std::nullopt;
  }
  if (*byte == '[') {  // F1 to F5 of the Linux console
    source_(kWithinSequence);
    return std::nullopt;
  }
  const int number = leading_number(parameters);
  const int modifier = modifier_of(parameters);
  if (*byte == 'u') {  // Enter with Shift, where terminals tell
    return number == 13 && modifier > 1 ? std::optional(KeyPress{Key::kPaste, 0, "\n"})
                                        : std::nullopt;
  }
  if (*byte != '~') {
    return arrow(*byte, modifier > 1 || number > 1);
  }
  switch (number) {
    case 1:
    case 7:
      return KeyPress{Key::kHome};
    case 4:
    case 8:
      return KeyPress{Key::kEnd};
    case 3:
      return KeyPress{modifier > 1 ? Key::kDeleteWord : Key::kDelete};
    case 200:
      return read_paste();
    default:
      return std::nullopt;
  }
}

std::optional<KeyPress> TerminalInput::read_single(unsigned char letter) {
  if (letter == 'c' || letter == 'd') {  // rxvt's arrows with Ctrl
    return KeyPress{letter == 'c' ? Key::kWordRight : Key::kWordLeft};
  }
  if (letter == 'M') {
    return KeyPress{Key::kCharacter, U'\r'};  // Enter of the number pad
  }
  return arrow(letter, false);
}

std::optional<KeyPress> TerminalInput::read_alt(unsigned char letter) {
  switch (letter) {
    case 'b':
      return KeyPress{Key::kWordLeft};
    case 'f':
      return KeyPress{Key::kWordRight};
    case 'd':
      return KeyPress{Key::kDeleteWord};
    case 0x7f:
    case 0x08:
      return KeyPress{Key::kDeleteWordBefore};
    case '\r':
    case '\n':
      return KeyPress{Key::kPaste, 0, "\n"};
    case kEscape:
      return read_escape();
    default:
      read_character(letter);  // Alt with any other character, whole
      return std::nullopt;
  }
}

// The character that begins with this byte; U+FFFD for bytes that make none.
char32_t TerminalInput::read_character(unsigned char first) {
  constexpr char32_t kBad = 0xFFFD;
  if (first < 0x80) {
    return first;
  }
  const int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : first >= 0xC2 ? 1 : 0;
  if (more == 0 || first > 0xF4) {
    return kBad;
  }
  char32_t character = first & (0x3FU >> more);
  for (int i = 0; i < more; ++i) {
    const std::optional<unsigned char> byte = source_(kWithinSequence);
    if (!byte || (*byte & 0xC0U) != 0x80) {
      return kBad;
    }
    character = character << 6 | (*byte & 0x3FU);
  }
  const bool surrogate = character >= 0xD800 && character < 0xE000;
  return surrogate || character > 0x10FFFF ? kBad : character;
}

KeyPress TerminalInput::read_paste() {
  constexpr std::string_view kEnd = "\033[201~";
  std::string raw;
  while (!raw.ends_with(kEnd)) {
    const std::optional<unsigned char> byte = source_(kWithinPaste);
    if (!byte) {
      return {Key::kPaste, 0, clean_paste(raw)};
    }
    raw += static_cast<char>(*byte);
  }
  raw.resize(raw.size() - kEnd.size());
  return {Key::kPaste, 0, clean_paste(raw)};
}

// An answer of the terminal, up to its end: BEL, or Escape and a backslash.
void TerminalInput::skip_string() {
  unsigned char before = 0;
  while (const std::optional<unsigned char> byte = source_(kWithinSequence)) {
    if (*byte == 0x07 || (before == kEscape && *byte == '\\')) {
      return;
    }
    before = *byte;
  }
}

}  // namespace tern::cli
