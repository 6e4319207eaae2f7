#pragma once
// JSON from outside.

#include <nlohmann/json.hpp>
#include <string_view>

namespace tern {

// The value that a text spells; discarded if it is no JSON, or nested deeper than any model file or answer of a server (64):
// the library prints and walks values recursively, and would run out of stack.
nlohmann::json parse_json(std::string_view text);

}  // namespace tern
