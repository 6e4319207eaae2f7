// Which file of a folder is its model.

#include <algorithm>
#include <map>
#include <set>

#include "engine/io/file_kind.h"
#include "engine/io/hugging_face.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

// "name" of "name-00002-of-00003.gguf"; the whole name of others.
std::string set_of(const std::string& name) {
  constexpr size_t kSuffix = std::string_view("-00001-of-00003.gguf").size();
  if (name.size() <= kSuffix) {
    return name;
  }
  std::string suffix = name.substr(name.size() - kSuffix);
  std::ranges::replace_if(
      suffix, [](char c) { return c >= '0' && c <= '9'; }, '0');
  return suffix == "-00000-of-00000.gguf" ? name.substr(0, name.size() - kSuffix) : name;
}

// GGUF files by model, without projectors for images and sound, which lie beside their model.
std::map<std::string, std::set<fs::path>> gguf_models(const fs::path& folder) {
  std::map<std::string, std::set<fs::path>> out;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.ends_with(".gguf") && name.find("mmproj") == std::string::npos) {
      out[set_of(name)].insert(entry->path());
    }
  }
  return out;
}

bool has_any(const fs::path& folder, std::initializer_list<const char*> names) {
  std::error_code ignored;
  return std::ranges::any_of(names,
                             [&](const char* name) { return fs::exists(folder / name, ignored); });
}

// A folder without what a model of Hugging Face has: what is there instead.
Error no_model(const fs::path& folder) {
  const std::string where = folder.string() +
                            ": expected a model (config.json and safetensors, or "
                            "a GGUF file), found ";
  if (has_any(folder, {"adapter_config.json", "adapter_model.safetensors"})) {
    return Error{where + "a LoRA adapter: give its model with -m, and this folder with --lora."};
  }
  if (has_any(folder, {"params.json", "consolidated.00.pth", "consolidated.safetensors"})) {
    return Error{where +
                 "the files of Meta's or Mistral's own programs: get the folder that "
                 "transformers reads, with a config.json."};
  }
  if (has_any(folder, {"pytorch_model.bin", "pytorch_model.bin.index.json"})) {
    return Error{where +
                 "PyTorch files, which can run programs when they are read: get the "
                 "safetensors of this model."};
  }
  const fs::path config = folder / "config.json";
  return unfinished_download(config).empty() ? Error{where + "a directory without either."}
                                             : missing_file(config);
}

}  // namespace

Result<fs::path> model_in(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored) ||
      has_any(path, {"model.safetensors", "model.safetensors.index.json"})) {
    return path;
  }
  const std::map<std::string, std::set<fs::path>> models = gguf_models(path);
  if (models.size() == 1) {
    return *models.begin()->second.begin();
  }
  if (models.empty()) {
    const bool is_model = fs::exists(path / "config.json", ignored) &&
                          !has_any(path, {"pytorch_model.bin", "pytorch_model.bin.index.json"});
    return is_model ? Result<fs::path>(path) : Result<fs::path>(no_model(path));
  }
  std::string names;
  for (const auto& [name, parts] : models) {
    constexpr size_t kShown = 400;
    const std::string next = printable(parts.begin()->filename().string());
    names += names.size() > kShown ? "" : (names.empty() ? "" : ", ") + next;
  }
  return Error{path.string() + ": expected a folder of one model, found " +
               std::to_string(models.size()) + ": give one of these files: " + names + "."};
}

}  // namespace tern
