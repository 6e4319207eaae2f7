#include "tools/pull_plan.h"

#include <algorithm>

#include "engine/base/ascii.h"
#include "engine/base/memory.h"
#include "engine/io/tensor_file.h"

namespace tern::cli {
namespace {

// "m-00002-of-00003.gguf" as "m-" + 2 + "-of-00003.gguf"; no number: not a part of a split file.
struct PartName {
  std::string before;
  int number = 0;
  std::string after;
};

PartName part_name(const std::string& path) {
  constexpr size_t kTail = sizeof "-00001-of-00001.gguf" - 1;
  if (path.size() <= kTail || !path.ends_with(".gguf")) {
    return {};
  }
  const std::string tail = path.substr(path.size() - kTail);
  const auto digits = [&](size_t at) { return tail.find_first_not_of("0123456789", at) == at + 5; };
  if (tail[0] != '-' || !digits(1) || tail.compare(6, 4, "-of-") != 0 || !digits(10)) {
    return {};
  }
  return {path.substr(0, path.size() - kTail), std::stoi(tail.substr(1, 5)), tail.substr(6)};
}

// All files of the model that begins with `first`, in order.
Result<std::vector<HubFile>> with_parts(const HubRepo& repo, const HubFile& first) {
  const PartName name = part_name(first.path);
  if (name.number == 0) {
    return std::vector<HubFile>{first};
  }
  const int parts = std::stoi(name.after.substr(4, 5));
  std::vector<HubFile> files;
  for (const HubFile& file : repo.files) {
    const PartName other = part_name(file.path);
    if (other.number > 0 && other.before == name.before && other.after == name.after) {
      files.push_back(file);
    }
  }
  std::ranges::sort(files, {}, &HubFile::path);
  if (files.size() != static_cast<size_t>(parts)) {
    return Error{repo.id + ": " + printable(first.path) + ": expected " + std::to_string(parts) +
                 " parts, the repository has " + std::to_string(files.size()) + "."};
  }
  return files;
}

// What the loader reads of a Hugging Face folder.
bool belongs_to_folder(const std::string& path, bool sharded) {
  constexpr const char* kNames[] = {
      "config.json",       "generation_config.json", "tokenizer.json",
      "tokenizer.model",   "tokenizer_config.json",  "special_tokens_map.json",
      "added_tokens.json", "chat_template.jinja",    "model.safetensors.index.json"};
  if (std::ranges::find(kNames, path) != std::end(kNames)) {
    return true;
  }
  return sharded ? path.starts_with("model-") && path.ends_with(".safetensors") &&
                       path.find('/') == std::string::npos
                 : path == "model.safetensors";
}

Result<PullPlan> plan_folder(const HubRepo& repo) {
  const bool sharded = std::ranges::any_of(
      repo.files, [](const HubFile& file) { return file.path == "model.safetensors.index.json"; });
  PullPlan plan;
  bool weights = false;
  bool config = false;
  for (const HubFile& file : repo.files) {
    if (belongs_to_folder(file.path, sharded)) {
      plan.files.push_back(file);
      weights = weights || file.path.ends_with(".safetensors");
      config = config || file.path == "config.json";
    }
  }
  if (!weights || !config) {
    return Error{repo.id +
                 ": expected GGUF files, or config.json with model.safetensors; found neither. "
                 "Tern reads no other files."};
  }
  return plan;
}

std::string listed(const std::vector<const HubFile*>& files) {
  std::string text;
  for (const HubFile* file : files) {
    text += "\n  " + printable(file->path, 200) + "  " + human_bytes(file->size);
  }
  return text;
}

}  // namespace

uint64_t PullPlan::size() const {
  uint64_t sum = 0;
  for (const HubFile& each : files) {
    sum += each.size;
  }
  return sum;
}

Result<PullPlan> plan_pull(const HubRepo& repo, const std::string& wanted) {
  std::vector<const HubFile*> all;
  std::vector<const HubFile*> fitting;
  for (const HubFile& file : repo.files) {
    // Later parts come with the first; projectors of images are no models.
    if (!file.path.ends_with(".gguf") || part_name(file.path).number > 1 ||
        lower(file.path).find("mmproj") != std::string::npos) {
      continue;
    }
    all.push_back(&file);
    if (file.path == wanted) {
      fitting = {&file};
      break;
    }
    if (lower(file.path).find(lower(wanted)) != std::string::npos) {
      fitting.push_back(&file);
    }
  }
  if (all.empty() && wanted.empty()) {
    return plan_folder(repo);
  }
  if (fitting.size() != 1) {
    const std::string what = wanted.empty()    ? "several models"
                             : fitting.empty() ? "none"
                                               : "several";
    return Error{repo.id + ": expected one GGUF file" +
                 (wanted.empty() ? "" : " named " + printable(wanted)) + ", found " + what +
                 ". Name one: tern pull " + repo.id + ":FILE, with FILE one of" +
                 (all.empty() ? " none: there are no GGUF files here." : listed(all))};
  }
  PullPlan plan;
  plan.file = fitting.front()->path;
  ASSIGN_OR_RETURN(plan.files, with_parts(repo, *fitting.front()));
  if (lower(plan.file.substr(0, plan.file.find('/'))) == "tern.json") {
    return Error{repo.id + ": " + printable(plan.file) +
                 ": the folder has the name of Tern's own note (tern.json); this model cannot be "
                 "stored."};
  }
  return plan;
}

}  // namespace tern::cli
