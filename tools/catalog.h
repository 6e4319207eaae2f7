#pragma once
// models/catalog.json: the public ternary and 1-bit models by short names.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"

namespace tern::cli {

struct CatalogModel {
  std::string name;
  std::vector<std::string> aliases;
  std::string repo;      // "owner/name" on the hub
  std::string revision;  // empty: main
  std::string file;      // a file of it, or a part of its name; empty: the repository's only model
  std::string licence;   // empty: as the hub says
  uint64_t size = 0;     // approximate bytes; 0: not known
  std::string architecture;
  std::string format;
  std::string about;
  bool runs = false;   // Tern knows its format and architecture
  std::string status;  // how that was proved, or why not

  bool is_called(std::string_view text) const;
};

Result<std::vector<CatalogModel>> parse_catalog(const std::string& json);
// The catalogue that comes with Tern.
Result<std::vector<CatalogModel>> load_catalog();
// Null if no model has this name or alias; case does not matter.
const CatalogModel* find_in_catalog(const std::vector<CatalogModel>& catalog,
                                    std::string_view name);

}  // namespace tern::cli
