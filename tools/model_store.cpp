#include "tools/model_store.h"

#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/base/ascii.h"
#include "engine/base/environment.h"
#include "engine/base/file.h"
#include "engine/base/output_file.h"
#include "remote/digest.h"
#include "remote/hub.h"
#include "remote/retry_wait.h"

namespace tern::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kNote[] = "tern.json";

// owner/name, then /resolve/REV/FILE or /blob/REV/FILE or /tree/REV, or [@REV][:FILE].
std::optional<ModelReference> parse_hub_path(std::string text) {
  text = text.substr(0, text.find('?'));
  const size_t owner = text.find('/');
  const size_t end = owner == std::string::npos ? owner : text.find_first_of("/@:", owner + 1);
  ModelReference reference;
  reference.repo = text.substr(0, end);
  if (owner == std::string::npos || !is_repo_id(reference.repo)) {
    return {};
  }
  std::string rest = end == std::string::npos ? "" : text.substr(end);
  for (const char* way : {"/resolve/", "/blob/", "/tree/"}) {
    if (rest.starts_with(way)) {
      const std::string place = rest.substr(std::strlen(way));
      const size_t slash = std::min(place.find('/'), place.size());
      reference.revision = place.substr(0, slash);
      reference.file = slash < place.size() ? place.substr(slash + 1) : "";
      rest.clear();
    }
  }
  if (rest.starts_with('@')) {
    const size_t colon = std::min(rest.find(':'), rest.size());
    reference.revision = rest.substr(1, colon - 1);
    rest = rest.substr(colon);
  }
  if (rest.starts_with(':')) {
    reference.file = rest.substr(1);
    rest.clear();
  }
  const bool sound = (rest.empty() || rest == "/") && is_safe_path(reference.revision) &&
                     (reference.file.empty() || is_safe_path(reference.file));
  return sound ? std::optional(reference) : std::nullopt;
}

// Whether what was asked for names the stored model.
bool means(const ModelReference& asked, const StoredModel& model) {
  if (asked.repo.empty()) {
    return asked.text() == model.from.text();
  }
  return lower(asked.repo) == lower(model.from.repo) && asked.revision == model.from.revision &&
         (asked.file.empty() ||
          lower(model.from.file).find(lower(asked.file)) != std::string::npos);
}

// Throws nlohmann's exceptions where something is missing or of another type.
StoredModel model_of(const Json& json) {
  StoredModel model;
  json.at("name").get_to(model.name);
  json.at("repo").get_to(model.from.repo);
  json.at("revision").get_to(model.from.revision);
  json.at("file").get_to(model.from.file);
  json.at("url").get_to(model.from.url);
  json.at("commit").get_to(model.commit);
  json.at("licence").get_to(model.licence);
  json.at("main").get_to(model.main);
  json.at("format").get_to(model.format);
  json.at("architecture").get_to(model.architecture);
  json.at("complete").get_to(model.complete);
  for (const Json& file : json.at("files")) {
    model.files.push_back({file.at("path"), file.at("size"), file.at("sha256")});
  }
  return model;
}

}  // namespace

std::string ModelReference::text() const {
  if (repo.empty()) {
    return url.substr(0, url.find_first_of("?#"));
  }
  return repo + (revision == "main" ? "" : "@" + revision) + (file.empty() ? "" : ":" + file);
}

std::string hub_endpoint() {
  std::string endpoint = environment("HF_ENDPOINT");
  while (endpoint.ends_with('/')) {
    endpoint.pop_back();
  }
  return endpoint.empty() ? HubOptions().endpoint : endpoint;
}

std::optional<ModelReference> parse_reference(const std::string& text,
                                              const std::vector<CatalogModel>& catalog,
                                              const std::string& endpoint) {
  if (const CatalogModel* known = find_in_catalog(catalog, text)) {
    return ModelReference{known->repo, known->revision.empty() ? "main" : known->revision,
                          known->file, ""};
  }
  for (const std::string& hub :
       {endpoint + "/", std::string("https://huggingface.co/"), std::string("https://hf.co/"),
        std::string("huggingface.co/"), std::string("hf.co/")}) {
    if (text.starts_with(hub)) {
      return parse_hub_path(text.substr(hub.size()));
    }
  }
  if (text.starts_with("https://") || text.starts_with("http://")) {
    return ModelReference{"", "main", "", text};
  }
  return parse_hub_path(text);
}

uint64_t StoredModel::size() const {
  uint64_t sum = 0;
  for (const StoredFile& file : files) {
    sum += file.size;
  }
  return sum;
}

ModelStore::ModelStore() : root_(environment("TERN_MODELS")) {
  if (root_.empty()) {
    root_ = xdg_file("XDG_CACHE_HOME", ".cache", "models");
  }
}

std::vector<StoredModel> ModelStore::models() const {
  std::vector<StoredModel> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(root_, ignored)) {
    if (std::optional<StoredModel> model = read(entry.path().filename().string())) {
      found.push_back(std::move(*model));
    }
  }
  std::ranges::sort(found, {}, &StoredModel::called);
  return found;
}

std::optional<StoredModel> ModelStore::read(const std::string& key) const {
  const Result<std::string> text = read_text_file(folder(key) / kNote, size_t{16} << 20);
  if (!text) {
    return {};
  }
  try {
    StoredModel model = model_of(Json::parse(*text));
    model.key = key;
    // The note could have been edited by anyone: nothing outside the folder is opened in its name.
    return model.main.empty() || is_safe_path(model.main) ? std::optional(model) : std::nullopt;
  } catch (const Json::exception&) {
    return {};
  }
}

Result<void> ModelStore::write(const StoredModel& model) const {
  Json files = Json::array();
  for (const StoredFile& file : model.files) {
    files.push_back({{"path", file.path}, {"size", file.size}, {"sha256", file.sha256}});
  }
  const Json json = {{"name", model.name},
                     {"repo", model.from.repo},
                     {"revision", model.from.revision},
                     {"file", model.from.file},
                     // Queries of download servers hold signatures.
                     {"url", model.from.repo.empty() ? model.from.text() : ""},
                     {"commit", model.commit},
                     {"licence", model.licence},
                     {"main", model.main},
                     {"format", model.format},
                     {"architecture", model.architecture},
                     {"complete", model.complete},
                     {"files", files}};
  return write_output(folder(model.key) / kNote,
                      json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n",
                      {.replace = true, .follow_links = false});
}

Result<void> ModelStore::remove(const std::string& key) const {
  std::error_code error;
  std::filesystem::remove_all(folder(key), error);
  if (error) {
    return Error{folder(key).string() + ": cannot be removed: " + error.message() + "."};
  }
  return {};
}

uint64_t ModelStore::bytes_on_disk(const std::string& key) const {
  uint64_t sum = 0;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder(key), ignored)) {
    const uint64_t size = entry.is_regular_file(ignored) ? entry.file_size(ignored) : 0;
    sum += size == static_cast<uint64_t>(-1) ? 0 : size;
  }
  return sum;
}

Result<void> ModelStore::check_folders(const std::string& key) const {
  RETURN_IF_ERROR(check_own_folder(root_, true));
  RETURN_IF_ERROR(check_own_folder(root_ / ".locks", false));
  struct stat status {};
  const bool there = ::lstat(folder(key).c_str(), &status) == 0;
  return there ? check_own_folder(folder(key), false) : Result<void>();
}

Result<StoreLock> ModelStore::lock(const std::string& key, const std::function<void()>& on_wait,
                                   const std::function<bool()>& cancelled) const {
  if (root_.empty()) {
    return Error{"the models: " + std::string(kNoHomeFolder) + " Or name a folder in TERN_MODELS."};
  }
  // Beside the models' folders and never removed: a lock file that is removed can be held twice.
  const std::filesystem::path file = root_ / ".locks" / key;
  RETURN_IF_ERROR(make_private_folders(file.parent_path()));
  if (!shared_) {
    if (const Result<void> own = check_folders(key); !own) {
      return Error{own.error().message +
                   " Others could put their files in the model's place: name another folder in "
                   "TERN_MODELS, or use --shared-folder if you trust them."};
    }
  }
  Result<Descriptor> opened = open_own_file(file);
  if (!opened) {
    return Error{opened.error().message + " TERN_MODELS names another folder."};
  }
  const int fd = opened->get();
  StoreLock held(std::move(*opened));
  for (bool told = false; ::flock(fd, LOCK_EX | LOCK_NB) != 0;) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return Error{file.string() + ": cannot lock this file: " + std::strerror(errno) + "."};
    }
    if (!on_wait) {
      return Error{"another process is downloading this model right now."};
    }
    if (!std::exchange(told, true)) {
      on_wait();
    }
    if (!wait_ms(100, cancelled)) {
      return Error{"stopped."};
    }
  }
  return held;
}

std::string store_key(const ModelReference& reference) {
  std::string key = reference.text();
  const size_t scheme = key.find("://");
  key = scheme == std::string::npos ? key : key.substr(scheme + 3);
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_@";
  constexpr size_t kLongest = 200;
  std::string plain;
  for (const char c : key) {
    const bool kept = kPlain.find(c) != std::string_view::npos;
    plain += c == '/' || c == ':' ? "--" : kept ? std::string(1, c) : "_";
  }
  // No folder of the store's own, and no "..", begins so.
  if (plain.starts_with('.')) {
    plain[0] = '_';
  }
  // Only OWNER/NAME[@REVISION][:FILE] without more slashes can be told from all others by this; the rest is named apart by a hash.
  const bool told_apart = scheme == std::string::npos && std::ranges::count(key, '/') == 1 &&
                          std::ranges::count(key, ':') <= 1 &&
                          key.find_first_not_of(std::string(kPlain) + "/:") == std::string::npos &&
                          key.find("--") == std::string::npos && !key.starts_with('.') &&
                          plain.size() <= kLongest;
  if (told_apart) {
    return plain;
  }
  Digest digest = Digest::sha256();
  digest.add(key);
  return plain.substr(0, kLongest) + "-" + digest.finish().substr(0, 12);
}

std::string ModelStore::key_of(const ModelReference& reference) const {
  const std::vector<StoredModel> here = models();
  const auto found = std::ranges::find_if(
      here, [&](const StoredModel& model) { return model.from.text() == reference.text(); });
  return found == here.end() ? store_key(reference) : found->key;
}

std::vector<StoredModel> find_stored(const ModelStore& store, const std::string& text,
                                     const std::vector<CatalogModel>& catalog) {
  const std::optional<ModelReference> asked = parse_reference(text, catalog, hub_endpoint());
  std::vector<StoredModel> models = store.models();
  std::erase_if(models, [&](const StoredModel& model) {
    return model.key != text && !(asked && means(*asked, model));
  });
  // "repo:file" also is a part of "repo:file-2": what matches in full is meant.
  const auto exact = [&](const StoredModel& model) {
    return asked && model.from.text() == asked->text();
  };
  if (std::ranges::any_of(models, exact)) {
    std::erase_if(models, std::not_fn(exact));
  }
  return models;
}

Result<std::string> resolve_model(const std::string& text) {
  std::error_code ignored;
  if (text.empty() || std::filesystem::exists(text, ignored)) {
    return text;
  }
  const Result<std::vector<CatalogModel>> catalog = load_catalog();
  const std::vector<CatalogModel> none;
  const std::vector<CatalogModel>& known = catalog ? catalog.value() : none;
  const ModelStore store;
  std::vector<StoredModel> models = find_stored(store, text, known);
  const bool unfinished = !models.empty();
  std::erase_if(models, [](const StoredModel& model) { return !model.complete; });
  if (models.size() == 1) {
    return store.path(models.front()).string();
  }
  if (models.size() > 1) {
    std::string names;
    for (const StoredModel& model : models) {
      names += (names.empty() ? "" : ", ") + model.called();
    }
    return Error{text + ": several models are here by this name: " + names + "."};
  }
  if (unfinished) {
    return Error{text + ": its download has not ended. `tern pull " + text + "` goes on with it."};
  }
  const bool a_file = text.ends_with(".gguf") || text.ends_with(".safetensors");
  if (find_in_catalog(known, text) != nullptr ||
      (!a_file && parse_reference(text, known, hub_endpoint()))) {
    return Error{text +
                 ": no such file, and no model of this name has been downloaded. `tern pull " +
                 text + "` downloads it; `tern list --all` shows names."};
  }
  if (!a_file && text.find('/') == std::string::npos) {
    return Error{text +
                 ": no such file, and no model of this name is known here. `tern list --all` shows "
                 "names; `--route remote` asks a provider for a model of its own."};
  }
  return text;
}

}  // namespace tern::cli
