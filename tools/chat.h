#pragma once
// A conversation with the model of this machine or with others.

#include "tools/ending.h"
#include "tools/talk_options.h"

namespace tern::cli {

// `options` are settled. `single_turn`: leaves after the first answer. `shift`: drops the oldest turns where the context ends,
// instead of refusing.
Ending hold_conversation(const TalkOptions& options, bool single_turn, bool shift);

}  // namespace tern::cli
