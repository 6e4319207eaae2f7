#include "engine/arch/families.h"

namespace tern {

Result<void> configure_qwen3(const TensorFile&, ModelConfig& config, std::vector<std::string>&) {
  config.qk_norms = QkNorms::kBeforeRope;
  config.ropes[0].rotate_half = true;
  return {};
}

}  // namespace tern
