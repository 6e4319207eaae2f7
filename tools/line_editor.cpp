#include "tools/line_editor.h"

#include <histedit.h>
#include <langinfo.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <deque>
#include <iostream>

#include "engine/base/input_file.h"
#include "engine/base/output_file.h"
#include "tools/cli.h"
#include "tools/terminal_input.h"
#include "tools/text_input.h"

namespace tern::cli {
namespace {

constexpr int kHistoryLines = 1000;

// Keys that the editor knows by one character each. Two control characters stand for what has none of its own; typed, they mean
// nothing.
constexpr wchar_t kPasteKey = 0x1f;
constexpr wchar_t kDeleteKey = 0x1e;

volatile std::sig_atomic_t g_resized = 0;

void on_resize(int) {
  g_resized = 1;
}

std::wstring wide_of(const std::string& text) {
  std::wstring wide;
  size_t at = 0;
  TerminalInput input([&](int) {
    return at < text.size() ? std::optional(static_cast<unsigned char>(text[at++])) : std::nullopt;
  });
  while (const auto key = input.next()) {
    wide += static_cast<wchar_t>(key->character);
  }
  return wide;
}

std::string utf8_of(std::wstring_view wide) {
  std::string text;
  for (const wchar_t each : wide) {
    const auto c = static_cast<uint32_t>(each);
    const int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    constexpr uint32_t kLead[] = {0, 0xC0, 0xE0, 0xF0};
    text += static_cast<char>(kLead[more] | c >> (6 * more));
    for (int i = more - 1; i >= 0; --i) {
      text += static_cast<char>(0x80U | (c >> (6 * i) & 0x3FU));
    }
  }
  return text;
}

// Control characters that edit a line; the others would be prefixes of keys that nobody meant.
bool is_editing(char32_t c) {
  constexpr std::u32string_view kKeys =
      U"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x10\x12\x14\x15\x17\x19\x1a\x7f";
  return c >= 0x20 && c != 0x7f ? true : kKeys.find(c) != std::u32string_view::npos;
}

}  // namespace

struct LineEditor::Terminal {
  EditLine* editor = nullptr;
  History* history = nullptr;
  HistEvent event{};
  std::string history_path;
  std::string prompt;
  std::string right;
  std::vector<std::string> commands;
  std::string bytes;  // read and not yet used
  size_t used = 0;
  std::deque<wchar_t> keys;
  std::wstring paste;
  TerminalInput input{[this](int wait_ms) { return next_byte(wait_ms); }};

  static Terminal& of(EditLine* editor) {
    void* data = nullptr;
    el_get(editor, EL_CLIENTDATA, &data);
    return *static_cast<Terminal*>(data);
  }

  std::optional<unsigned char> next_byte(int wait_ms);
  void add(const KeyPress& press);
  void ask_for_pastes(bool ask) const { std::fputs(ask ? "\033[?2004h" : "\033[?2004l", stdout); }

  static int read_key(EditLine* editor, wchar_t* key);
  static unsigned char cancel(EditLine* editor, int);
  static unsigned char insert_paste(EditLine* editor, int);
  static unsigned char suspend(EditLine* editor, int);
  static unsigned char complete(EditLine* editor, int);
  static char* left_prompt(EditLine* editor) { return of(editor).prompt.data(); }
  static char* right_prompt(EditLine* editor) { return of(editor).right.data(); }
};

std::optional<unsigned char> LineEditor::Terminal::next_byte(int wait_ms) {
  while (used == bytes.size()) {
    struct pollfd waiting {
      STDIN_FILENO, POLLIN, 0
    };
    const int ready = ::poll(&waiting, 1, wait_ms);
    if (ready < 0 && errno == EINTR) {
      if (g_resized != 0) {
        g_resized = 0;
        el_resize(editor);
      }
      if (interrupted()) {
        return std::nullopt;
      }
      continue;
    }
    if (ready <= 0) {
      return std::nullopt;
    }
    char block[4096];
    const ssize_t count = ::read(STDIN_FILENO, block, sizeof block);
    if (count <= 0) {
      return std::nullopt;
    }
    bytes.assign(block, static_cast<size_t>(count));
    used = 0;
  }
  return static_cast<unsigned char>(bytes[used++]);
}

void LineEditor::Terminal::add(const KeyPress& press) {
  const auto put = [this](std::initializer_list<wchar_t> more) { keys.insert(keys.end(), more); };
  switch (press.key) {
    case Key::kCharacter:
      if (is_editing(press.character)) {
        put({static_cast<wchar_t>(press.character)});
      }
      return;
    case Key::kLeft:
      return put({L'\x02'});
    case Key::kRight:
      return put({L'\x06'});
    case Key::kUp:
      return put({L'\x10'});
    case Key::kDown:
      return put({L'\x0e'});
    case Key::kHome:
      return put({L'\x01'});
    case Key::kEnd:
      return put({L'\x05'});
    case Key::kDelete:
      return put({kDeleteKey});
    case Key::kWordLeft:
      return put({L'\x1b', L'b'});
    case Key::kWordRight:
      return put({L'\x1b', L'f'});
    case Key::kDeleteWord:
      return put({L'\x1b', L'd'});
    case Key::kDeleteWordBefore:
      return put({L'\x1b', L'\x7f'});
    case Key::kPaste:
      if (!press.text.empty()) {
        paste = wide_of(press.text);
        put({kPasteKey});
      }
      return;
  }
}

int LineEditor::Terminal::read_key(EditLine* editor, wchar_t* key) {
  Terminal& t = of(editor);
  while (t.keys.empty()) {
    const std::optional<KeyPress> press = t.input.next();
    if (!press) {
      return 0;
    }
    t.add(*press);
  }
  *key = t.keys.front();
  t.keys.pop_front();
  return 1;
}

// Ctrl-C, which arrives as a character while a line is edited: the line is given up and comes back empty.
unsigned char LineEditor::Terminal::cancel(EditLine* editor, int) {
  const LineInfoW* line = el_wline(editor);  // positions in characters, as the next two take them
  const bool empty = line->lastchar == line->buffer;
  el_cursor(editor, static_cast<int>(line->lastchar - line->cursor));
  el_deletestr(editor, static_cast<int>(line->lastchar - line->buffer));
  el_insertstr(editor, "\n");  // what tells an empty line from the end of the input
  std::fputs(empty ? "^C (Ctrl-D or /exit leaves)\n" : "^C\n", stdout);
  return CC_NEWLINE;
}

unsigned char LineEditor::Terminal::insert_paste(EditLine* editor, int) {
  return el_winsertstr(editor, of(editor).paste.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
}

// Ctrl-Z, as it would be without an editor: the terminal is given back while the program sleeps.
unsigned char LineEditor::Terminal::suspend(EditLine* editor, int) {
  const Terminal& t = of(editor);
  t.ask_for_pastes(false);
  std::fputs("\n", stdout);
  std::fflush(stdout);
  el_set(editor, EL_PREP_TERM, 0);
  ::raise(SIGTSTP);
  el_set(editor, EL_PREP_TERM, 1);
  t.ask_for_pastes(true);
  std::fflush(stdout);
  return CC_REDISPLAY;
}

// Tab: a command by its beginning, or a file's name after /load and /save.
unsigned char LineEditor::Terminal::complete(EditLine* editor, int key) {
  const Terminal& t = of(editor);
  const LineInfoW* line = el_wline(editor);
  const std::string typed =
      utf8_of({line->buffer, static_cast<size_t>(line->cursor - line->buffer)});
  if (typed.starts_with("/load ") || typed.starts_with("/save ")) {
    return _el_fn_complete(editor, key);
  }
  std::vector<std::string> fitting;
  for (const std::string& command : t.commands) {
    if (typed.starts_with('/') && command.starts_with(typed)) {
      fitting.push_back(command);
    }
  }
  if (fitting.empty()) {
    return CC_ERROR;
  }
  std::string common = fitting.front();
  for (const std::string& each : fitting) {
    const auto differ = std::ranges::mismatch(common, each).in1;
    common.erase(differ, common.end());
  }
  const std::string more =
      common.substr(typed.size()) + (fitting.size() == 1 ? std::string(" ") : std::string());
  if (!more.empty()) {
    return el_insertstr(editor, more.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
  }
  std::fputs("\n", stdout);
  for (const std::string& each : fitting) {
    std::fprintf(stdout, "%s  ", each.c_str());
  }
  std::fputs("\n", stdout);
  std::fflush(stdout);
  return CC_REDISPLAY;
}

LineEditor::LineEditor(const std::filesystem::path& history, std::vector<std::string> commands) {
  if (::isatty(STDIN_FILENO) != 1 || ::isatty(STDOUT_FILENO) != 1) {
    return;
  }
  // The editor counts the columns of characters by the locale; a terminal speaks UTF-8 also where none is set.
  std::setlocale(LC_CTYPE, "");
  if (std::strcmp(::nl_langinfo(CODESET), "UTF-8") != 0) {
    std::setlocale(LC_CTYPE, "C.UTF-8");
  }
  terminal_ = std::make_unique<Terminal>();
  Terminal& t = *terminal_;
  t.commands = std::move(commands);
  t.history_path = history.string();
  // A history that cannot be kept is no reason not to chat.
  if (!history.empty()) {
    (void)make_private_folders(history.parent_path()).has_value();
  }
  t.editor = el_init("tern", stdin, stdout, stderr);
  t.history = history_init();
  ::history(t.history, &t.event, H_SETSIZE, kHistoryLines);
  ::history(t.history, &t.event, H_SETUNIQUE, 1);
  std::error_code ignored;
  if (!std::filesystem::exists(history, ignored)) {
    // the first conversation
  } else if (!open_regular_file(history)) {
    t.history_path.clear();  // a pipe would be waited for, and anything else is no history
  } else {
    ::history(t.history, &t.event, H_LOAD, t.history_path.c_str());
  }
  el_set(t.editor, EL_CLIENTDATA, &t);
  el_set(t.editor, EL_PROMPT, Terminal::left_prompt);
  el_set(t.editor, EL_RPROMPT, Terminal::right_prompt);
  el_set(t.editor, EL_EDITOR, "emacs");
  el_set(t.editor, EL_HIST, ::history, t.history);
  el_set(t.editor, EL_GETCFN, Terminal::read_key);
  el_set(t.editor, EL_SETTY, "-d", "-isig", nullptr);
  el_set(t.editor, EL_ADDFN, "tern-cancel", "Give up the line", Terminal::cancel);
  el_set(t.editor, EL_ADDFN, "tern-paste", "Insert what was pasted", Terminal::insert_paste);
  el_set(t.editor, EL_ADDFN, "tern-suspend", "Stop the program for now", Terminal::suspend);
  el_set(t.editor, EL_ADDFN, "tern-complete", "Complete a command", Terminal::complete);
  el_set(t.editor, EL_BIND, "^C", "tern-cancel", nullptr);
  el_set(t.editor, EL_BIND, "^Z", "tern-suspend", nullptr);
  el_set(t.editor, EL_BIND, "^I", "tern-complete", nullptr);
  el_set(t.editor, EL_BIND, "^_", "tern-paste", nullptr);
  el_set(t.editor, EL_BIND, "^^", "ed-delete-next-char", nullptr);
  el_set(t.editor, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  el_set(t.editor, EL_BIND, "^W", "ed-delete-prev-word", nullptr);
  struct sigaction action {};
  action.sa_handler = on_resize;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGWINCH, &action, nullptr);
}

LineEditor::~LineEditor() {
  if (terminal_ == nullptr) {
    return;
  }
  history_end(terminal_->history);
  el_end(terminal_->editor);
}

std::optional<std::string> LineEditor::read(const std::string& prompt, const std::string& right) {
  if (terminal_ == nullptr) {
    std::string line;
    if (!std::getline(std::cin, line)) {
      return std::nullopt;
    }
    line = first_ ? without_byte_order_mark(std::move(line)) : line;
    first_ = false;
    if (line.ends_with('\r')) {
      line.pop_back();
    }
    return line;
  }
  Terminal& t = *terminal_;
  t.prompt = prompt;
  t.right = right;
  el_set(t.editor, EL_PREP_TERM,
         1);  // before the prompt is seen, so that a key typed at once counts
  t.ask_for_pastes(true);
  std::fflush(stdout);
  int length = 0;
  const wchar_t* text = el_wgets(t.editor, &length);
  t.ask_for_pastes(false);
  std::fflush(stdout);
  if (text == nullptr || length <= 0) {
    std::fputs("\n", stdout);
    return std::nullopt;
  }
  std::string line = utf8_of({text, static_cast<size_t>(length)});
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) {
    line.pop_back();
  }
  if (!line.empty()) {
    ::history(t.history, &t.event, H_ENTER, line.c_str());
    if (!t.history_path.empty()) {
      ::history(t.history, &t.event, H_SAVE, t.history_path.c_str());
    }
  }
  return line;
}

}  // namespace tern::cli
