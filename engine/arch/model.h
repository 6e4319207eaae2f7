#pragma once
// A model ready to run: immutable, and shared by any number of sessions.

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/arch/arch.h"
#include "engine/arch/model_plan.h"
#include "engine/model/chat_template.h"
#include "engine/model/lora.h"
#include "engine/model/tokenizer.h"
#include "engine/run/compute.h"

namespace tern {

struct LoadOptions {
  Compute compute;                      // packs the weights for this table, on so many threads
  std::optional<I2sLayout> i2s_layout;  // none: the one under which the model knows a text
  TernaryChoice packing;
  HeadType head = HeadType::kAuto;
  std::optional<Activations> activations;  // none: what suits the model
  std::vector<LoraSource> lora;            // adapters, whose sum is added
  std::string chat_template;               // a built-in name or Jinja text; empty: the file's
  Progress progress;
};

class Model {
 public:
  // Errors name the file and the part of it that is wrong, or say that there is too little memory.
  static Result<std::shared_ptr<const Model>> load(const std::filesystem::path& path,
                                                   const LoadOptions& options);

  const TensorFile& file() const { return file_; }
  const ModelConfig& config() const { return config_; }
  const DecoderWeights& decoder() const { return decoder_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const ChatTemplate& chat_template() const { return *chat_template_; }
  const KernelTable& kernels() const { return *kernels_; }
  // What its memory depends on.
  ModelShape shape() const;

  // The table's choice of tokens that end a turn or a text.
  const std::vector<TokenId>& stop_tokens() const { return stop_tokens_; }
  // One line each on what was assumed where the file is silent or known to be wrong.
  const std::vector<std::string>& notices() const { return notices_; }
  // Bytes that generating one token reads from the weights.
  size_t bytes_per_token() const;

 private:
  explicit Model(TensorFile file) : file_(std::move(file)) {}
  static Result<std::shared_ptr<Model>> load_as(const std::filesystem::path& path,
                                                const LoadOptions& options);
  static Result<std::shared_ptr<Model>> load_other_layouts(const std::filesystem::path& path,
                                                           LoadOptions options, double loss_of_128);
  Result<void> read(const LoadOptions& options);
  Result<void> check_memory(const LoadOptions& options) const;
  Result<void> read_text_side(const LoadOptions& options);
  void find_stop_tokens();

  TensorFile file_;
  const KernelTable* kernels_ = nullptr;
  ModelConfig config_;
  LoraSet adapters_;
  std::unique_ptr<Weights> weights_;
  DecoderWeights decoder_;
  std::optional<Tokenizer> tokenizer_;
  std::optional<ChatTemplate> chat_template_;
  std::vector<TokenId> stop_tokens_;
  std::vector<std::string> notices_;
};

}  // namespace tern
