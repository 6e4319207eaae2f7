#pragma once
// How much memory a model takes, before any of its matrices is read.

#include <memory>

#include "engine/arch/arch.h"

namespace tern {

// What decides that. Of the weights only shapes matter: they may point nowhere.
struct ModelShape {
  const ModelConfig& config;
  const DecoderWeights& weights;
  const KernelTable& kernels;
  WeightMemory memory;
};

// The shape of a model that is not loaded: the decoder takes its tensors as it does at load, and nothing is computed.
class ModelPlan {
 public:
  // `config`: as read_config() gave it for `file`, which must outlive the plan. Errors: a tensor is missing, has another shape, or is
  // left over.
  static Result<ModelPlan> create(const TensorFile& file, ModelConfig config,
                                  const KernelTable& kernels, const TernaryChoice& choice = {},
                                  HeadType head = HeadType::kAuto);

  ModelShape shape() const { return {*config_, decoder_, *kernels_, weights_->memory()}; }

 private:
  ModelPlan() = default;

  const KernelTable* kernels_ = nullptr;
  std::unique_ptr<const ModelConfig> config_;
  std::unique_ptr<Weights> weights_;
  DecoderWeights decoder_;
};

}  // namespace tern
