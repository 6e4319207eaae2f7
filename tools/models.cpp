// tern list and tern rm: what `tern pull` has stored.

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "engine/base/memory.h"
#include "engine/io/tensor_file.h"
#include "tools/cli.h"
#include "tools/model_store.h"
#include "tools/table.h"

namespace tern::cli {
namespace {

using Json = nlohmann::ordered_json;

Result<void> list_stored(bool json) {
  const ModelStore store;
  Json list = Json::array();
  std::vector<std::vector<std::string>> rows = {{"NAME", "SIZE", "FORMAT", "LICENCE", "WHERE"}};
  for (const StoredModel& model : store.models()) {
    const uint64_t bytes = store.bytes_on_disk(model.key);
    list.push_back({{"name", model.called()},
                    {"bytes", bytes},
                    {"complete", model.complete},
                    {"format", model.format},
                    {"architecture", model.architecture},
                    {"licence", model.licence},
                    {"source", model.from.text()},
                    {"commit", model.commit},
                    {"path", store.path(model).string()}});
    rows.push_back({printable(model.called(), 200), human_bytes(bytes),
                    model.complete ? model.format : "unfinished",
                    model.licence.empty() ? "-" : printable(model.licence),
                    store.path(model).string()});
  }
  if (json) {
    print_json(list);
  } else if (list.empty()) {
    const std::string where = store.root().empty() ? "" : " in " + store.root().string();
    print_message_f("No models%s. `tern list --all` shows names for `tern pull`.\n", where.c_str());
  } else {
    print_table(rows);
  }
  return {};
}

Result<void> list_catalog(bool json) {
  ASSIGN_OR_RETURN(const std::vector<CatalogModel> catalog, load_catalog());
  Json list = Json::array();
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "ABOUT", "FORMAT", "LICENCE", "RUNS", "REPOSITORY"}};
  for (const CatalogModel& model : catalog) {
    const std::string size = model.size == 0 ? "?" : "~" + human_bytes(model.size);
    list.push_back({{"name", model.name},
                    {"repo", model.repo},
                    {"file", model.file},
                    {"bytes_about", model.size},
                    {"format", model.format},
                    {"architecture", model.architecture},
                    {"licence", model.licence},
                    {"runs", model.runs},
                    {"status", model.status},
                    {"about", model.about}});
    rows.push_back({model.name, size, model.format, model.licence.empty() ? "-" : model.licence,
                    model.runs ? "yes" : "no", model.repo});
  }
  if (json) {
    print_json(list);
  } else {
    print_table(rows);
  }
  return {};
}

Result<void> remove_model(const std::string& name) {
  const Result<std::vector<CatalogModel>> catalog = load_catalog();
  ModelStore store;
  const std::vector<StoredModel> models =
      find_stored(store, name, catalog ? catalog.value() : std::vector<CatalogModel>());
  if (models.size() != 1) {
    std::string names;
    for (const StoredModel& model : models) {
      names += (names.empty() ? ": " : ", ") + model.called();
    }
    return Error{name + ": expected the name of one model that `tern list` shows, found " +
                 (models.empty() ? "none" : "several") + names + "."};
  }
  const StoredModel& model = models.front();
  store.trust_others();  // whatever they put there goes
  const auto lock = store.lock(model.key, {}, {});
  if (!lock) {
    return lock.error().in(name);
  }
  const uint64_t bytes = store.bytes_on_disk(model.key);
  RETURN_IF_ERROR(store.remove(model.key));
  print_report_f("removed %s, %s\n", model.called().c_str(), human_bytes(bytes).c_str());
  return {};
}

}  // namespace

Action declare_list(CLI::App& app) {
  struct Options {
    bool all = false;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  app.add_flag("--all", options->all, "The catalogue: every model with a name, here or not");
  app.add_flag("--json", options->json, "As JSON");
  return
      [options] { return options->all ? list_catalog(options->json) : list_stored(options->json); };
}

Action declare_rm(CLI::App& app) {
  auto name = std::make_shared<std::string>();
  app.add_option("model", *name, "As `tern list` shows it")->required()->type_name("MODEL");
  return [name] { return remove_model(*name); };
}

}  // namespace tern::cli
