#include "engine/arch/families.h"

namespace tern {

Result<void> configure_llama(const TensorFile&, ModelConfig& config, std::vector<std::string>&) {
  // Converters permute the rows of q and k of this architecture, so that RoPE rotates neighbouring values.
  config.ropes[0].rotate_half = false;
  return {};
}

}  // namespace tern
