#include "engine/io/lora_file.h"

#include <algorithm>

#include "engine/io/file_kind.h"
#include "engine/io/hugging_face.h"
#include "engine/io/peft.h"

namespace tern {
namespace {

Result<void> require_text(const TensorFile& file, const std::string& key,
                          const std::string& expected, const char* otherwise) {
  ASSIGN_OR_RETURN(const std::optional<std::string_view> found, file.get_string(key));
  if (!found || *found != expected) {
    return Error{"key " + key + ": expected " + expected + otherwise + ", found " +
                 printable(found.value_or("no such key")) + "."};
  }
  return {};
}

Result<std::vector<LoraPair>> read_gguf(const TensorFile& file) {
  RETURN_IF_ERROR(require_text(file, "general.type", "adapter", " (a file for --lora)"));
  RETURN_IF_ERROR(require_text(file, "adapter.type", "lora", ""));
  if (file.metadata().contains("adapter.alora.invocation_tokens")) {
    return Error{
        "key adapter.alora.invocation_tokens: this adapter is switched on by a sequence of tokens, "
        "which Tern does not do; it would be run wrongly."};
  }
  ASSIGN_OR_RETURN(const std::optional<double> alpha, file.get_float("adapter.lora.alpha"));
  std::map<std::string, LoraPair> halves;
  for (const Tensor& tensor : file.tensors()) {
    const size_t dot = tensor.name.rfind('.');
    const std::string target = tensor.name.substr(0, dot);
    const std::string_view part =
        std::string_view(tensor.name).substr(std::min(dot, tensor.name.size()));
    if (part == ".lora_a") {
      halves[target].a = tensor;
    } else if (part == ".lora_b") {
      halves[target].b = tensor;
    } else {
      return Error{"tensor " + printable(tensor.name) +
                   ": expected only names that end in .lora_a or .lora_b; without this one the "
                   "adapter would be run wrongly."};
    }
  }
  ASSIGN_OR_RETURN(std::vector<LoraPair> pairs, complete_pairs(std::move(halves)));
  for (LoraPair& pair : pairs) {
    // Without an alpha the user's scale counts alone, as in llama.cpp.
    if (alpha.value_or(0) != 0) {
      pair.scale = static_cast<float>(*alpha / static_cast<double>(pair.rank()));
    }
  }
  return pairs;
}

}  // namespace

Result<std::vector<LoraPair>> complete_pairs(std::map<std::string, LoraPair> halves) {
  std::vector<LoraPair> pairs;
  for (auto& [target, pair] : halves) {
    const std::string where = "adapter of " + printable(target);
    if (pair.a.format == nullptr || pair.b.format == nullptr) {
      return Error{where + ": expected both matrices A and B, found only " +
                   (pair.a.format == nullptr ? "B" : "A") + ": the file is incomplete."};
    }
    if (pair.a.shape.size() != 2 || pair.b.shape.size() != 2) {
      return Error{where + ": expected two matrices, found tensors of " +
                   std::to_string(pair.a.shape.size()) + " and " +
                   std::to_string(pair.b.shape.size()) + " dimensions."};
    }
    if (pair.a.rows() != pair.b.cols()) {
      return Error{where + ": expected as many columns of B as rows of A, found " +
                   std::to_string(pair.b.cols()) + " and " + std::to_string(pair.a.rows()) + "."};
    }
    pair.target = target;
    pairs.push_back(std::move(pair));
  }
  if (pairs.empty()) {
    return Error{"expected a LoRA adapter, found no pair of matrices."};
  }
  return pairs;
}

Result<LoraFile> LoraFile::open(const std::filesystem::path& path) {
  LoraFile out;
  std::error_code ignored;
  const bool is_folder = std::filesystem::is_directory(path, ignored);
  const std::filesystem::path folder = is_folder ? path : path.parent_path();
  if (is_folder || path.extension() == ".safetensors" || path.extension() == ".json") {
    const std::filesystem::path weights = folder / "adapter_model.safetensors";
    if (!std::filesystem::exists(weights, ignored) &&
        std::filesystem::exists(folder / "adapter_model.bin", ignored)) {
      return Error{weights.string() +
                   ": expected this file, found adapter_model.bin, whose format can run programs; "
                   "save the adapter again with safe_serialization=True."};
    }
    ASSIGN_OR_RETURN(const nlohmann::json config, read_json_file(folder / "adapter_config.json"));
    ASSIGN_OR_RETURN(MappedFile file, open_file(weights));
    ASSIGN_OR_RETURN(const std::vector<safetensors::Entry> entries, safetensors::read(file));
    Result<std::vector<LoraPair>> pairs = read_peft(config, std::span(entries));
    if (!pairs) {
      return pairs.error().in(folder.string());
    }
    out.pairs = std::move(*pairs);
    out.safetensors = std::move(file);
    return out;
  }
  ASSIGN_OR_RETURN(TensorFile file, TensorFile::open(path));
  Result<std::vector<LoraPair>> pairs = read_gguf(file);
  if (!pairs) {
    return pairs.error().in(path.string());
  }
  ASSIGN_OR_RETURN(const std::optional<std::string_view> architecture,
                   file.get_string("general.architecture"));
  out.architecture = std::string(architecture.value_or(""));
  out.gguf_rows = true;
  out.pairs = std::move(*pairs);
  out.gguf = std::make_unique<TensorFile>(std::move(file));
  return out;
}

}  // namespace tern
