#include "tools/line_editor.h"

#include <histedit.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <iostream>

#include "engine/base/input_file.h"
#include "engine/base/output_file.h"

namespace tern::cli {
namespace {

constexpr int kHistoryLines = 1000;

// Ctrl-C, which arrives as a character while a line is edited: the line is given up and comes back empty.
unsigned char cancel_line(EditLine* editor, int) {
  const LineInfoW* line = el_wline(editor);  // positions in characters, as the next two take them
  el_cursor(editor, static_cast<int>(line->lastchar - line->cursor));
  el_deletestr(editor, static_cast<int>(line->lastchar - line->buffer));
  el_insertstr(editor, "\n");  // what tells an empty line from the end of the input
  std::fputs("^C\n", stdout);
  return CC_NEWLINE;
}

char* current_prompt(EditLine* editor) {
  void* prompt = nullptr;
  el_get(editor, EL_CLIENTDATA, &prompt);
  return static_cast<std::string*>(prompt)->data();
}

}  // namespace

struct LineEditor::Terminal {
  EditLine* editor = nullptr;
  History* history = nullptr;
  HistEvent event{};
  std::string history_path;
  std::string prompt;
};

LineEditor::LineEditor(const std::filesystem::path& history) {
  if (::isatty(STDIN_FILENO) != 1 || ::isatty(STDOUT_FILENO) != 1) {
    return;
  }
  std::setlocale(LC_CTYPE, "");  // the editor counts columns of UTF-8 characters
  terminal_ = std::make_unique<Terminal>();
  Terminal& t = *terminal_;
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
  el_set(t.editor, EL_CLIENTDATA, &t.prompt);
  el_set(t.editor, EL_PROMPT, current_prompt);
  el_set(t.editor, EL_EDITOR, "emacs");
  el_set(t.editor, EL_HIST, ::history, t.history);
  el_set(t.editor, EL_SETTY, "-d", "-isig", nullptr);
  el_set(t.editor, EL_ADDFN, "tern-cancel", "Give up the line", cancel_line);
  el_set(t.editor, EL_BIND, "^C", "tern-cancel", nullptr);
  el_set(t.editor, EL_BIND, "^R", "em-inc-search-prev", nullptr);
}

LineEditor::~LineEditor() {
  if (terminal_ == nullptr) {
    return;
  }
  if (!terminal_->history_path.empty()) {
    ::history(terminal_->history, &terminal_->event, H_SAVE, terminal_->history_path.c_str());
  }
  history_end(terminal_->history);
  el_end(terminal_->editor);
}

std::optional<std::string> LineEditor::read(const std::string& prompt) {
  if (terminal_ == nullptr) {
    std::string line;
    return std::getline(std::cin, line) ? std::optional(line) : std::nullopt;
  }
  Terminal& t = *terminal_;
  t.prompt = prompt;
  int length = 0;
  const char* text = el_gets(t.editor, &length);
  if (text == nullptr || length <= 0) {
    std::fputs("\n", stdout);
    return std::nullopt;
  }
  std::string line(text, static_cast<size_t>(length));
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) {
    line.pop_back();
  }
  if (!line.empty()) {
    ::history(t.history, &t.event, H_ENTER, line.c_str());
  }
  return line;
}

}  // namespace tern::cli
