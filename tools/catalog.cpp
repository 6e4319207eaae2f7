#include "tools/catalog.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/base/ascii.h"
#include "tools/built_in.h"

namespace tern::cli {
namespace {

using Json = nlohmann::json;

// Throws nlohmann's exceptions where something is missing or of another type.
CatalogModel model_of(const Json& json) {
  CatalogModel model;
  json.at("name").get_to(model.name);
  json.at("aliases").get_to(model.aliases);
  json.at("repo").get_to(model.repo);
  model.revision = json.value("revision", "");
  model.file = json.value("file", "");
  model.licence = json.value("licence", "");
  model.size = json.value("size_about", uint64_t{0});
  json.at("architecture").get_to(model.architecture);
  json.at("format").get_to(model.format);
  json.at("about").get_to(model.about);
  json.at("runs").get_to(model.runs);
  json.at("status").get_to(model.status);
  return model;
}

}  // namespace

bool CatalogModel::is_called(std::string_view text) const {
  return same_ignoring_case(name, text) ||
         std::ranges::any_of(
             aliases, [text](const std::string& alias) { return same_ignoring_case(alias, text); });
}

Result<std::vector<CatalogModel>> parse_catalog(const std::string& text) {
  std::vector<CatalogModel> models;
  try {
    const Json json = Json::parse(text);
    for (const Json& entry : json.at("models")) {
      models.push_back(model_of(entry));
    }
  } catch (const Json::exception& error) {
    return Error{std::string("the catalogue of models is damaged: ") + error.what()};
  }
  return models;
}

Result<std::vector<CatalogModel>> load_catalog() {
  return parse_catalog(std::string(kCatalogJson));
}

const CatalogModel* find_in_catalog(const std::vector<CatalogModel>& catalog,
                                    std::string_view name) {
  const auto found = std::ranges::find_if(
      catalog, [name](const CatalogModel& model) { return model.is_called(name); });
  return found == catalog.end() ? nullptr : &*found;
}

}  // namespace tern::cli
