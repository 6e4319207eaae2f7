#pragma once
// LoRA adapters: pairs of thin matrices that are added to a model's own, y = W x + scale B (A x). Read from GGUF files as
// llama.cpp's converter writes them, and from the folders that PEFT saves.

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/io/tensor_file.h"

namespace tern {

struct LoraPair {
  std::string target;  // the GGUF name of the tensor that it changes: "blk.0.attn_q.weight"
  Tensor a;            // {columns of the target, rank}
  Tensor b;            // {rank, rows of the target}
  float scale = 1.0F;  // what its training multiplied B A by

  int64_t rank() const { return a.rows(); }
};

struct LoraFile {
  // A GGUF file, or a folder with adapter_config.json and adapter_model.safetensors (or one of these two files).
  // Errors: no LoRA adapter; one that does more than add products (DoRA, biases, whole modules, an activation sequence),
  // which would be run wrongly; half a pair; ranks that do not agree.
  static Result<LoraFile> open(const std::filesystem::path& path);

  std::string
      architecture;  // general.architecture of its model; empty if the file does not say (PEFT)
  // Rows of queries and keys are ordered as in GGUF files of the architecture, else as in Hugging Face's.
  bool gguf_rows = false;
  std::vector<LoraPair> pairs;

  // What the pairs point to.
  std::unique_ptr<TensorFile> gguf;
  MappedFile safetensors;
};

// A PEFT adapter from its parts: adapter_config.json, and the bytes of adapter_model.safetensors, which must outlive the pairs.
Result<std::vector<LoraPair>> read_peft(const nlohmann::json& config,
                                        std::span<const std::byte> safetensors);

// For the readers: the pairs by target, each checked to be two matrices that fit each other.
Result<std::vector<LoraPair>> complete_pairs(std::map<std::string, LoraPair> halves);

}  // namespace tern
