#pragma once
// What -v says of a model that was loaded: how it is computed, and what differs from the file.

#include <string>

#include "engine/arch/model.h"

namespace tern::cli {

// One line on the output head: its type in the file, and what was made of it.
std::string describe_head(const Model& model);

}  // namespace tern::cli
