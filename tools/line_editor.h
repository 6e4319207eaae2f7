#pragma once
// One line from the user: edited with history on a terminal, read as it is from a pipe.

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace tern::cli {

class LineEditor {
 public:
  // History is read from and written to `history` (its folder is made); without a terminal it is not used.
  explicit LineEditor(const std::filesystem::path& history);
  ~LineEditor();

  // The next line without its end, or nothing at the end of the input (Ctrl-D). Ctrl-C gives up the line and returns "".
  std::optional<std::string> read(const std::string& prompt);

 private:
  struct Terminal;
  std::unique_ptr<Terminal> terminal_;  // null on a pipe
};

}  // namespace tern::cli
