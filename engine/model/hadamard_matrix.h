#pragma once
// Hadamard matrices of orders that are no powers of two. They are those of OneCompression, which takes them from Sloane's library; here
// they are constructed.

#include <cstdint>
#include <vector>

#include "engine/base/result.h"

namespace tern {

struct HadamardMatrix {
  int32_t order = 1;
  std::vector<float> values;  // order x order of +1 and -1; empty for order 1
};

// K, with which (K (x) H) / sqrt(size) transforms vectors of `size`, H being Sylvester's matrix of the power of two that is left.
// Errors: a size for which OneCompression has no matrix.
Result<HadamardMatrix> hadamard_matrix_for(int32_t size);

}  // namespace tern
