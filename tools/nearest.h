#pragma once
// Which of some names a mistyped one most likely means.

#include <string>
#include <string_view>
#include <vector>

namespace tern::cli {

// How many letters must be changed, added, left out or exchanged with their neighbour to turn `a` into `b`.
size_t edit_distance(std::string_view a, std::string_view b);

// The nearest of the names, if it is near enough to be meant: at most one such change for three letters, and two in a short name.
// Empty: none is.
std::string nearest(std::string_view typed, const std::vector<std::string>& names);

}  // namespace tern::cli
