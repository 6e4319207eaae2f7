#include "engine/arch/families.h"

namespace tern {

Result<void> configure_hunyuan(const TensorFile&, ModelConfig& config, std::vector<std::string>&) {
  config.qk_norms = QkNorms::kAfterRope;
  config.ropes[0].rotate_half = true;
  return {};
}

}  // namespace tern
