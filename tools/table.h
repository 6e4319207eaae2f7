#pragma once
// Tables and JSON on standard output.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace tern::cli {

// In columns as wide as their longest cell. The first row heads them.
void print_table(const std::vector<std::vector<std::string>>& rows);
// "1 call", "2 calls".
std::string count_text(int64_t count, const std::string& thing);
// Indented; bytes that are no UTF-8 are replaced.
void print_json(const nlohmann::ordered_json& json);

}  // namespace tern::cli
