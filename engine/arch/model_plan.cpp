#include "engine/arch/model_plan.h"

namespace tern {

Result<ModelPlan> ModelPlan::create(const TensorFile& file, ModelConfig config,
                                    const KernelTable& kernels, const TernaryChoice& choice,
                                    HeadType head) {
  ModelPlan plan;
  plan.kernels_ = &kernels;
  plan.config_ = std::make_unique<const ModelConfig>(std::move(config));
  plan.weights_ = std::make_unique<Weights>(Weights::shapes(file, kernels, choice));
  ASSIGN_OR_RETURN(plan.decoder_, bind_decoder(*plan.config_, *plan.weights_, head));
  return plan;
}

}  // namespace tern
