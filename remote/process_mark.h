#pragma once
// Which process made an entry in a file that processes share, so that others can tell whether it still runs.

#include <string>

namespace tern {

// This process: machine, boot, process namespace, number and start time. A number alone is given to another process later.
std::string process_mark();

enum class Presence { kRunning, kGone, kUnknown };

// Unknown: the mark is of another machine or container, or empty.
Presence presence_of(const std::string& mark);

}  // namespace tern
