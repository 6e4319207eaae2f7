#include "tools/asides.h"

#include <string>

#include "remote/plain_line.h"
#include "tools/console.h"

namespace tern::cli {

bool Thoughts::show(std::string_view piece) {
  if (!open_ && !piece.empty()) {
    print_message_f("[thoughts] ");
    open_ = true;
  }
  print_message_f("%s", stream_.add(piece).c_str());
  return true;
}

void Thoughts::end() {
  if (open_) {
    print_message_f("%s\n[answer]\n", stream_.finish().c_str());
    open_ = false;
  }
}

void print_tool_calls(const std::vector<ToolCall>& calls) {
  constexpr size_t kMostName = 200;
  for (const ToolCall& call : calls) {
    print_text("[call " + plain_line(call.name, kMostName) + " " +
               plain_line(call.arguments, call.arguments.size() * 3) + "]\n");
  }
  end_text();
}

}  // namespace tern::cli
