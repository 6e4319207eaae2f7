#pragma once
// Which turns of a conversation still fit into the context.

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/api/message.h"
#include "engine/base/result.h"

namespace tern::cli {

// How many tokens the messages are, as the chat template puts them.
using TokenCounter = std::function<Result<size_t>(const std::vector<Message>&)>;

// Drops the oldest turns (a user's message and what was answered to it) until the rest has at most `limit` tokens. System messages
// at the beginning and the last user's message with what follows it stay. Returns how many turns went.
Result<int> drop_oldest_turns(std::vector<Message>& messages, const TokenCounter& count,
                              size_t limit);

// Where the context is nearly full: a conversation that leaves less than a sixteenth of it to the answer is cut.
bool needs_room(size_t tokens, size_t context);
// What a conversation is cut to: three quarters, so that not every turn has to cut again. What was cut makes everything after
// it be read anew.
size_t room_to_leave(size_t context);

}  // namespace tern::cli
