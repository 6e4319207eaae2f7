#pragma once
// Model folders as Hugging Face publishes them: safetensors, config.json, tokenizer files. They are shown as the same keys and
// tensor names that a GGUF file of the model would have, so that nothing above this layer knows the difference.

#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/base/result.h"
#include "engine/io/mlx.h"
#include "engine/io/safetensors.h"
#include "engine/io/tensor_file.h"

namespace tern {

// Whether a path is such a folder, or a file of one (*.safetensors, *.safetensors.index.json).
bool is_hugging_face_model(const std::filesystem::path& path);

// What a path stands for: itself, or the GGUF file (the first part of a split one) in a folder that has one model of this
// kind and no safetensors. Errors: a folder of several models, of none, of an adapter.
Result<std::filesystem::path> model_in(const std::filesystem::path& path);

// Collects what becomes a TensorFile.
class HuggingFaceReader {
 public:
  static Result<TensorFile> open(const std::filesystem::path& path);

  // For the parts of the reader (hf_*.cpp).
  void set(const std::string& key, MetaValue value) {
    out_.metadata_.insert_or_assign(key, std::move(value));
  }
  // A whole number that was set; nothing if there is none.
  std::optional<int64_t> value(const std::string& key) const {
    const auto found = out_.metadata_.find(key);
    const auto* number =
        found == out_.metadata_.end() ? nullptr : std::get_if<int64_t>(&found->second);
    return number == nullptr ? std::nullopt : std::optional(*number);
  }
  // A text that lives as long as the file.
  std::string_view keep(std::string text) { return out_.texts_.emplace_back(std::move(text)); }
  void add_tensor(Tensor tensor);
  // A vector of floats that no file holds.
  void add_floats(const std::string& name, std::vector<float> values);
  // A matrix of them; `shape` fastest first.
  void add_floats(const std::string& name, std::vector<float> values, std::vector<int64_t> shape);
  // A tensor whose data are F16 numbers that no file holds.
  void add_halves(Tensor tensor, std::vector<uint16_t> values);
  void add_notice(std::string text) { out_.notices_.push_back(std::move(text)); }

 private:
  explicit HuggingFaceReader(std::filesystem::path folder) : folder_(std::move(folder)) {}
  Result<void> read();
  Result<void> read_tensors();
  Result<void> add_mlx(const std::map<std::string, mlx::Matrix>& matrices,
                       const mlx::Quantization& quantization, bool tied, bool gemma);
  // Experts of transformers 5, all gates and ups of a layer in one tensor: false if it is none of theirs.
  Result<bool> add_fused_experts(const safetensors::Entry& entry, std::string_view name);
  // Gives the experts of a matrix one format, that of the first: looking at all would read a part of each.
  void choose_expert_formats();
  Result<bool> add_changed(const safetensors::Entry& entry, const std::string& stem,
                           const std::string& part);
  bool embeddings_are_tied() const;
  Result<void> read_pooling();
  void note_own_adapter();

  std::filesystem::path folder_;
  nlohmann::json config_;
  TensorFile out_;
};

// config.json as the keys of a GGUF file. Errors: an architecture or a property that Tern does not run.
Result<void> translate_config(const nlohmann::json& config, HuggingFaceReader& out);

// The files of a folder that say how text becomes tokens and where it ends, as the keys of a GGUF file. `model_config`
// is config.json.
Result<void> translate_tokenizer(const std::filesystem::path& folder,
                                 const nlohmann::json& model_config, HuggingFaceReader& out);

// Its chat templates: tokenizer.chat_template, and tokenizer.chat_template.NAME of others. `config` is
// tokenizer_config.json. Those that do not count are named in notices.
Result<void> translate_chat_templates(const std::filesystem::path& folder,
                                      const nlohmann::json& config, HuggingFaceReader& out);

// "model.layers.3.mlp.up_proj" as "blk.3.ffn_up"; names that have no counterpart stay as they are, so that the error about a
// tensor nobody asked for shows the file's own name.
// `gemma`: whose norms go by other names.
std::string gguf_stem(std::string_view stem, bool gemma = false);

// The part of a layer that a stem names, if it is of a mixture of experts: "mlp.experts.7.up_proj" as "ffn_up_exps.7",
// "mlp.switch_mlp.up_proj" (all experts in one tensor) as "ffn_up_exps"; else empty.
std::string expert_part(std::string_view part);

// Whether a tensor is one expert's, by its name in the folder.
bool is_single_expert(std::string_view name);

// A JSON object in a file. Errors name it.
Result<nlohmann::json> read_json_file(const std::filesystem::path& path);

}  // namespace tern
