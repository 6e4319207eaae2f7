#pragma once
// The folder of downloaded models. Each model has a folder of its own with a note (tern.json) of where it came from; several
// processes may use the folder at once.

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/descriptor.h"
#include "engine/base/result.h"
#include "tools/catalog.h"

namespace tern::cli {

// What a user calls a model that is, or will be, downloaded.
struct ModelReference {
  std::string repo;  // "owner/name"; empty: `url`
  std::string revision = "main";
  std::string file;  // a path in it or a part of one; empty: its only model
  std::string url;   // any other server's file, with all that was given

  // As one writes it: owner/name@revision:file, or the address without its query.
  std::string text() const;
};

// NAME of the catalogue, owner/name[@revision][:file], an address on the hub or any other. Nothing if it is none of these.
std::optional<ModelReference> parse_reference(const std::string& text,
                                              const std::vector<CatalogModel>& catalog,
                                              const std::string& endpoint);
// HF_ENDPOINT, or the hub's own address; without a slash at the end.
std::string hub_endpoint();

struct StoredFile {
  std::string path;  // within the model's folder
  uint64_t size = 0;
  std::string sha256;
};

struct StoredModel {
  std::string key;   // its folder's name
  std::string name;  // in the catalogue; may be empty
  ModelReference from;
  std::string commit;
  std::string licence;
  std::string main;  // the file to open, within the folder; empty: the folder itself
  std::string format;
  std::string architecture;
  std::vector<StoredFile> files;
  bool complete = false;

  uint64_t size() const;
  // The shortest name by which -m finds it.
  std::string called() const { return name.empty() ? from.text() : name; }
};

// Held while a model's folder is changed; the lock goes with the object.
class StoreLock {
 public:
  explicit StoreLock(Descriptor file) : file_(std::move(file)) {}

 private:
  Descriptor file_;
};

class ModelStore {
 public:
  // TERN_MODELS, else tern/models in XDG_CACHE_HOME or ~/.cache.
  ModelStore();
  explicit ModelStore(std::filesystem::path root) : root_(std::move(root)) {}

  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path folder(const std::string& key) const { return root_ / key; }
  std::filesystem::path path(const StoredModel& model) const {
    return folder(model.key) / model.main;
  }

  // All models, unfinished ones too, by name. A folder without a readable note is left out.
  std::vector<StoredModel> models() const;
  std::optional<StoredModel> read(const std::string& key) const;
  // The folder where a model lies already, whatever earlier versions called it, else store_key().
  std::string key_of(const ModelReference& reference) const;
  Result<void> write(const StoredModel& model) const;
  Result<void> remove(const std::string& key) const;
  // Bytes that lie in a model's folder, unfinished files included.
  uint64_t bytes_on_disk(const std::string& key) const;

  // Folders that other users can write to are used from here on.
  void trust_others() { shared_ = true; }
  // Waits until no other process changes this model, after `on_wait`; gives up when `cancelled`. An empty `on_wait` does not
  // wait: the error then says that another process is busy. Folders that others can write to are an error.
  Result<StoreLock> lock(const std::string& key, const std::function<void()>& on_wait,
                         const std::function<bool()>& cancelled) const;

 private:
  Result<void> check_folders(const std::string& key) const;

  std::filesystem::path root_;
  bool shared_ = false;
};

// The folder name for a model: nothing in it is special to a file system.
std::string store_key(const ModelReference& reference);

// Models that `reference`, or `text` as a folder's name, means.
std::vector<StoredModel> find_stored(const ModelStore& store, const std::string& text,
                                     const std::vector<CatalogModel>& catalog);

// What -m takes: a path, or the name of a model that has been pulled. Nothing is downloaded.
Result<std::string> resolve_model(const std::string& text);

}  // namespace tern::cli
