// What a conversation is made of: keys of a terminal, turns that fit.

#include <gtest/gtest.h>

#include "tools/chat_turns.h"
#include "tools/talk_options.h"
#include "tools/terminal_input.h"
#include "tools/word_wrap.h"

namespace tern::cli {
namespace {

// Every key of the bytes, as text: characters as they are, keys by a name in brackets.
std::string keys_of(const std::string& bytes) {
  size_t at = 0;
  TerminalInput input([&](int) {
    return at < bytes.size() ? std::optional(static_cast<unsigned char>(bytes[at++]))
                             : std::nullopt;
  });
  constexpr const char* kNames[] = {"",          "left",       "right",       "up",
                                    "down",      "home",       "end",         "delete",
                                    "word-left", "word-right", "delete-word", "delete-word-before",
                                    "paste"};
  std::string text;
  while (const auto press = input.next()) {
    if (press->key == Key::kCharacter && press->character < 0x80) {
      text += static_cast<char>(press->character);
    } else if (press->key == Key::kCharacter) {
      text += "<U+" + std::to_string(static_cast<uint32_t>(press->character)) + ">";
    } else {
      text += "<" + std::string(kNames[static_cast<size_t>(press->key)]) + press->text + ">";
    }
  }
  return text;
}

// What xterm, the Linux console, rxvt and kitty send for these keys.
TEST(TerminalInput, KeysThatEditALine) {
  EXPECT_EQ(keys_of("a\033[D\033[C\033OD\033[A\033[B"), "a<left><right><left><up><down>");
  EXPECT_EQ(keys_of("\033[1;5D\033[1;5C\033Od\033Oc\033[5D"),
            "<word-left><word-right><word-left><word-right><word-left>");
  EXPECT_EQ(keys_of("\033[H\033[F\033[1~\033[4~\033[7~\033[8~\033OH"),
            "<home><end><home><end><home><end><home>");
  EXPECT_EQ(keys_of("\033[3~\033[3;5~\033b\033f\033d\033\x7f"),
            "<delete><delete-word><word-left><word-right><delete-word><delete-word-before>");
  EXPECT_EQ(keys_of("\033\r\033[13;2u"), "<paste\n><paste\n>");
}

TEST(TerminalInput, OtherKeysLeaveNothingBehind) {
  // F5, Page Up and Down, Insert, F1 three ways, Shift-Tab, a mouse report, a colour that was asked for, Escape alone, Alt-x.
  for (const char* sequence :
       {"\033[15~", "\033[5~", "\033[6~", "\033[2~", "\033OP", "\033[[A", "\033[11~", "\033[Z",
        "\033[<0;10;20M", "\033]11;rgb:0000/0000/0000\007", "\033]11;rgb:0/0/0\033\\", "\033x",
        "\033[15;5~", "\033[57399u", "\033\xC3\xA9"}) {
    EXPECT_EQ(keys_of("a" + std::string(sequence) + "b"), "ab") << sequence + 1;
  }
  EXPECT_EQ(keys_of("\033"), "");
}

TEST(TerminalInput, CharactersAreWhole) {
  EXPECT_EQ(keys_of("\xC3\xA9\xE6\xBC\xA2\xF0\x9F\x98\x80"), "<U+233><U+28450><U+128512>");
  EXPECT_EQ(keys_of("\xFF"
                    "a\xC3"),
            "<U+65533>a<U+65533>");
}

TEST(TerminalInput, APasteIsOneKey) {
  EXPECT_EQ(keys_of("\033[200~one\rtwo\r\n\tthree\n\033[201~!"), "<pasteone\ntwo\n\tthree>!");
  EXPECT_EQ(keys_of("\033[200~a\033[31mb\007\033[201~"), "<pastea[31mb>");
}

std::vector<Message> talk(int turns, bool with_system) {
  std::vector<Message> messages;
  if (with_system) {
    messages.push_back({"system", "s", ""});
  }
  for (int i = 0; i < turns; ++i) {
    messages.push_back({"user", "u" + std::to_string(i), ""});
    messages.push_back({"assistant", "a" + std::to_string(i), ""});
  }
  return messages;
}

// Ten tokens a message.
Result<size_t> ten_each(const std::vector<Message>& messages) {
  return 10 * messages.size();
}

TEST(ChatTurns, TheOldestGoAndTheSystemMessageStays) {
  std::vector<Message> messages = talk(5, true);
  messages.push_back({"user", "last", ""});
  const Result<int> dropped = drop_oldest_turns(messages, ten_each, 60);
  ASSERT_TRUE(dropped);
  EXPECT_EQ(*dropped, 3);  // 12 messages; 6 are left
  ASSERT_EQ(messages.size(), 6U);
  EXPECT_EQ(messages[0].role, "system");
  EXPECT_EQ(messages[1].content, "u3");
  EXPECT_EQ(messages.back().content, "last");
}

TEST(ChatTurns, TheLastMessageIsNeverDropped) {
  std::vector<Message> messages = talk(1, true);
  const Result<int> dropped = drop_oldest_turns(messages, ten_each, 1);
  ASSERT_TRUE(dropped);
  EXPECT_EQ(*dropped, 0);
  EXPECT_EQ(messages.size(), 3U);
}

TEST(ChatTurns, AnErrorOfTheTemplateIsPassedOn) {
  std::vector<Message> messages = talk(2, false);
  const auto refuse = [](const std::vector<Message>&) -> Result<size_t> { return Error{"no"}; };
  EXPECT_FALSE(drop_oldest_turns(messages, refuse, 1));
}

TEST(TalkOptions, EscapesMeanWhatTheyMeanInC) {
  EXPECT_EQ(without_escapes("a\\nb\\tc\\\\n\\x41\\q\\"), "a\nb\tc\\nA\\q\\");
}

// All of it, one byte sequence of a character at a time, as tokens may come.
std::string wrapped_in_pieces(const std::string& text, size_t width) {
  WordWrap wrap(width);
  std::string out;
  for (size_t at = 0; at < text.size();) {
    size_t size = 1;
    while (at + size < text.size() &&
           (static_cast<unsigned char>(text[at + size]) & 0xC0U) == 0x80) {
      ++size;
    }
    out += wrap.push(std::string_view(text).substr(at, size));
    at += size;
  }
  return out + wrap.finish();
}

TEST(WordWrap, BreaksBetweenWords) {
  EXPECT_EQ(wrapped_in_pieces("one two three four", 9), "one two\nthree\nfour");
  EXPECT_EQ(wrapped_in_pieces("one two three four", 10), "one two\nthree four");
  EXPECT_EQ(wrapped_in_pieces("  int x;\n    y = 1;\n", 20), "  int x;\n    y = 1;\n");
  EXPECT_EQ(wrapped_in_pieces("a\tb c", 9), "a\tb\nc");  // the tab goes to column 8
  EXPECT_EQ(wrapped_in_pieces("one two", 0), "one two");
}

TEST(WordWrap, CountsColumnsNotBytes) {
  EXPECT_EQ(wrapped_in_pieces("éé éé éé", 5), "éé éé\néé");
  EXPECT_EQ(wrapped_in_pieces("漢字漢字", 6), "漢字漢\n字");
  EXPECT_EQ(wrapped_in_pieces("abcdefghij", 4), "abcd\nefgh\nij");
}

}  // namespace
}  // namespace tern::cli
