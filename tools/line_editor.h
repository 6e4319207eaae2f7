#pragma once
// One message from the user: edited with history on a terminal, read line by line from a pipe.

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace tern::cli {

class LineEditor {
 public:
  // History is read from and written to `history` (its folder is made); without a terminal it is not used. Tab completes
  // `commands`.
  LineEditor(const std::filesystem::path& history, std::vector<std::string> commands);
  ~LineEditor();

  // The next line without its end, or nothing at the end of the input (Ctrl-D). Ctrl-C gives up the line and returns "". On a
  // terminal a line may hold line ends: those of a paste. `right`: shown at the right edge.
  std::optional<std::string> read(const std::string& prompt, const std::string& right = {});

 private:
  struct Terminal;
  std::unique_ptr<Terminal> terminal_;  // null on a pipe
  bool first_ = true;
};

}  // namespace tern::cli
