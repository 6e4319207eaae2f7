#pragma once
// What an answer carries besides its text, in text mode: thoughts before it, calls of functions
// behind it.

#include <string_view>
#include <vector>

#include "engine/api/message.h"
#include "engine/base/printable.h"

namespace tern::cli {

// Thoughts go to stderr, so that a pipe gets the answer alone.
class Thoughts {
 public:
  bool show(std::string_view piece);
  // The answer begins, or nothing more comes.
  void end();

 private:
  PrintableStream stream_;
  bool open_ = false;
};

// Each call on a line of its own on standard output: "[call look {"at":1}]".
void print_tool_calls(const std::vector<ToolCall>& calls);

}  // namespace tern::cli
