#pragma once
// What a terminal sends, as keys: characters, the keys that have a meaning in a line, and pastes. All other sequences (function
// keys, Page Up, answers of the terminal) are swallowed whole, so that no piece of them ends up in the text.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace tern::cli {

enum class Key : uint8_t {
  kCharacter,  // `character`: also the control characters, as Ctrl-A is 1
  kLeft,
  kRight,
  kUp,
  kDown,
  kHome,
  kEnd,
  kDelete,
  kWordLeft,
  kWordRight,
  kDeleteWord,
  kDeleteWordBefore,
  kPaste,  // `text`: what was pasted, or a line end that was not meant to send the line
};

struct KeyPress {
  Key key = Key::kCharacter;
  char32_t character = 0;
  std::string text = {};
};

class TerminalInput {
 public:
  // The next byte, or nothing: at the end of the input, or, if `wait_ms` is not negative, when none came in that time.
  using ByteSource = std::function<std::optional<unsigned char>(int wait_ms)>;

  explicit TerminalInput(ByteSource source) : source_(std::move(source)) {}

  // Waits for a key. Nothing: the input is over.
  std::optional<KeyPress> next();

 private:
  std::optional<KeyPress> read_escape();
  std::optional<KeyPress> read_sequence();
  std::optional<KeyPress> read_single(unsigned char letter);
  std::optional<KeyPress> read_alt(unsigned char letter);
  char32_t read_character(unsigned char first);
  KeyPress read_paste();
  void skip_string();

  ByteSource source_;
};

}  // namespace tern::cli
