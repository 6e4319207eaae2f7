#pragma once
// Tables on a terminal.

#include <string>
#include <vector>

namespace tern::cli {

// On standard output, in columns as wide as their longest cell. The first row heads them.
void print_table(const std::vector<std::vector<std::string>>& rows);

}  // namespace tern::cli
