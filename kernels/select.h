#pragma once
// Which kernel table serves: best first, chosen once in main and passed down.

#include <span>
#include <string_view>

#include "kernels/kernels.h"

namespace tern {

// All tables compiled in, best first, the portable table last; every entry of each is filled. Some may need CPU features
// that this machine lacks: ask runs_here().
std::span<const KernelTable* const> all_tables();
bool runs_here(const KernelTable& table);

// The table of that name, or null if there is none or this CPU cannot run it.
const KernelTable* find_table(std::string_view name);
// The best table that this CPU runs.
const KernelTable& best_table();

}  // namespace tern
