#include "tools/nearest.h"

#include <algorithm>

namespace tern::cli {

// Three rows of the usual table are enough: an exchange of neighbours looks two rows back.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1);
  std::vector<size_t> above(b.size() + 1);
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) {
    row[j] = j;
  }
  for (size_t i = 1; i <= a.size(); ++i) {
    before.swap(above);
    above.swap(row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t changed = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({changed, above[j] + 1, row[j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
  }
  return row[b.size()];
}

std::string nearest(std::string_view typed, const std::vector<std::string>& names) {
  const size_t letters = typed.size() - std::min(typed.find_first_not_of('-'), typed.size());
  size_t best = letters <= 2 ? 1 : std::max<size_t>(2, letters / 3);
  std::string found;
  for (const std::string& name : names) {
    const size_t distance = edit_distance(typed, name);
    // What merely goes on after what was typed is meant more often than what differs in it.
    const bool begins = letters >= 3 && name.starts_with(typed);
    const size_t counted = begins ? std::min<size_t>(distance, 1) : distance;
    if (counted < best || (counted == best && found.empty())) {
      best = counted;
      found = name;
    }
  }
  return found;
}

}  // namespace tern::cli
