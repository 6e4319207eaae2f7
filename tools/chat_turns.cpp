#include "tools/chat_turns.h"

#include <algorithm>

namespace tern::cli {

Result<int> drop_oldest_turns(std::vector<Message>& messages, const TokenCounter& count,
                              size_t limit) {
  const auto is_user = [](const Message& message) { return message.role == "user"; };
  int dropped = 0;
  while (true) {
    const auto first = std::ranges::find_if(
        messages, [](const Message& message) { return message.role != "system"; });
    const auto next =
        first == messages.end() ? first : std::find_if(first + 1, messages.end(), is_user);
    if (next == messages.end()) {
      return dropped;
    }
    ASSIGN_OR_RETURN(const size_t tokens, count(messages));
    if (tokens <= limit) {
      return dropped;
    }
    messages.erase(first, next);
    ++dropped;
  }
}

bool needs_room(size_t tokens, size_t context) {
  return tokens + std::max<size_t>(1, context / 16) > context;
}

size_t room_to_leave(size_t context) {
  return context / 4 * 3;
}

}  // namespace tern::cli
