#include "tools/model_names.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "engine/base/ascii.h"
#include "tools/catalog.h"
#include "tools/model_store.h"

namespace tern::cli {
namespace {

bool exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

// "models/tiny" where there is a folder "models": a path with a typing error in it rather than
// "owner/name".
bool begins_in_a_folder(const std::string& name) {
  const size_t slash = name.find('/');
  std::error_code ignored;
  return slash != std::string::npos &&
         std::filesystem::is_directory(name.substr(0, slash), ignored);
}

bool is_path(const std::string& name) {
  return has_form_of_path(name) || exists(name);
}

bool is_listed(const std::vector<const Provider*>& asked, const std::string& name) {
  return std::ranges::any_of(
      asked, [&](const Provider* provider) { return find_model(*provider, name) != nullptr; });
}

// Whether a name that is no path means a model of this machine: an alias in providers.json, a model
// that `tern pull` has stored, or one of Tern's catalogue that it could store.
bool means_something_here(const std::string& name, const Provider* here) {
  if (here != nullptr && find_model(*here, name) != nullptr) {
    return true;
  }
  const Result<std::vector<CatalogModel>> catalog = load_catalog();
  const std::vector<CatalogModel> none;
  const std::vector<CatalogModel>& known = catalog ? catalog.value() : none;
  return find_in_catalog(known, name) != nullptr || !find_stored(ModelStore(), name, known).empty();
}

// A path, and whatever only looks like one, must be there: a typing error is not to become a
// request to somebody else.
Result<void> must_exist(const std::string& name) {
  ASSIGN_OR_RETURN(const std::string file, resolve_model(name));
  if (!exists(file)) {
    return Error{name +
                 ": no such file or folder, and paths are not sent to providers. --remote-model "
                 "names a provider's model."};
  }
  return {};
}

Result<void> must_be_no_path(const char* what, const std::string& name,
                             const std::vector<const Provider*>& asked) {
  if (is_path(name) && !is_listed(asked, name)) {
    return Error{std::string(what) + ": expected a provider's name for a model, found the path " +
                 name +
                 ", which is not sent. (A server that calls its model so has it in \"models\" of "
                 "providers.json.)"};
  }
  return {};
}

}  // namespace

bool has_form_of_path(std::string_view name) {
  const std::string low = lower(name);
  if (low == "." || low == ".." || low.starts_with('/') || low.starts_with("./") ||
      low.starts_with("../") || low.starts_with('~')) {
    return true;
  }
  if (low.find('\\') != std::string::npos || low.find("://") != std::string::npos ||
      low.starts_with("file:")) {
    return true;
  }
  const bool drive =
      low.size() > 2 && low[0] >= 'a' && low[0] <= 'z' && low[1] == ':' && low[2] == '/';
  if (drive || low.find("/../") != std::string::npos || low.find("/./") != std::string::npos ||
      low.ends_with('/') || low.find(".gguf") != std::string::npos) {
    return true;
  }
  constexpr std::array<std::string_view, 7> kEndings = {".safetensors", ".bin",  ".pt",  ".pth",
                                                        ".ckpt",        ".onnx", ".json"};
  return std::ranges::any_of(kEndings, [&](std::string_view end) { return low.ends_with(end); });
}

Result<ModelNames> model_names(const NamedModels& named, const std::vector<const Provider*>& asked,
                               const Provider* here) {
  RETURN_IF_ERROR(must_be_no_path("--remote-model", named.remote, asked));
  RETURN_IF_ERROR(must_be_no_path("config.json: remote_model", named.usual_remote, asked));
  ModelNames names;
  const std::string& word = named.model;
  const bool path = is_path(word);
  const bool listed = is_listed(asked, word);
  const bool mistyped = !path && !listed && begins_in_a_folder(word);
  // With --remote-model the other word is this machine's.
  const bool ours = !word.empty() &&
                    (path || mistyped || !named.remote.empty() || means_something_here(word, here));
  if (path || mistyped) {
    RETURN_IF_ERROR(must_exist(word));
  }
  if (ours && !named.local.empty() && named.local != word) {
    return Error{"-m " + word + " and --local-model " + named.local +
                 " name two models of this machine: expected one."};
  }
  if (!named.local.empty() && has_form_of_path(named.local)) {
    RETURN_IF_ERROR(must_exist(named.local));
  }
  names.local_named = ours || !named.local.empty();
  names.local = ours ? word : !named.local.empty() ? named.local : named.usual_local;
  names.remote = named.remote;
  if (names.remote.empty() && !word.empty() && !path && (!ours || listed)) {
    names.remote = word;
  }
  if (names.remote.empty()) {
    names.remote = named.usual_remote;
  }
  if (names.remote.empty() && ours) {
    names.kept_here = word;
  }
  if (!ours && !word.empty()) {
    names.not_here = word;
  }
  return names;
}

}  // namespace tern::cli
