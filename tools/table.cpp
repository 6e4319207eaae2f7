#include "tools/table.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tools/console.h"

namespace tern::cli {

void print_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths(rows.front().size());
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      line += i + 1 < row.size() ? std::string(widths[i] - row[i].size() + 2, ' ') : "";
    }
    print_report_f("%s\n", line.c_str());
  }
}

std::string count_text(int64_t count, const std::string& thing) {
  return std::to_string(count) + " " + thing + (count == 1 ? "" : "s");
}

void print_json(const nlohmann::ordered_json& json) {
  using Json = nlohmann::ordered_json;
  print_json_text(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace tern::cli
