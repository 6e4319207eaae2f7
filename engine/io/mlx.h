#pragma once
// Matrices as MLX quantises them: codes of `bits` bits, and for each `group_size` columns of a row a scale and a bias of their own
// tensors; a weight is code * scale + bias. Source: MLX, mlx.core.quantize; compared with it by tests/golden/mlx/make_mlx.py.
// Maple's ternary matrices have a scale for each row in place of those (`row_alpha`): a weight is row_alpha * (code - 1), codes of two
// bits. Source: DeepGrove's mlx-lm, ternary.py, as engines that read these folders describe it.

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/io/safetensors.h"
#include "engine/io/tensor_file.h"

namespace tern::mlx {

// What config.json says of each module's weights.
class Quantization {
 public:
  struct Scheme {
    int64_t group_size = 0;
    int64_t bits = 0;
  };
  // Nothing if the model was not quantised by MLX. Errors: a scheme other than affine groups.
  static Result<std::optional<Quantization>> read(const nlohmann::json& config);

  // Null if the module was left as it was.
  const Scheme* of(const std::string& module) const;

 private:
  Scheme all_;
  std::map<std::string, std::optional<Scheme>> own_;
};

// The tensors of a matrix, or of the matrices of all experts of a layer, which may lie in different files: scales and biases, or
// row_alpha.
struct Matrix {
  std::optional<safetensors::Entry> weight, scales, biases, row_alpha;
  int file = 0;  // the weight's
};

struct Read {
  Tensor tensor;  // without a name
  std::vector<uint16_t>
      own;  // not empty: the weights as F16, which the tensor's data are to point to
  bool too_narrow = false;  // because no ternary kernel reads groups of so few columns
};

// A matrix of two bits whose values are -d, 0 and d becomes a ternary tensor on the file's bytes, exactly; others become F16.
// So do ternary ones whose scales change within 64 columns. `scheme`: null if config.json says that the module was left as it was.
// `must_be_ternary`: a matrix of two bits that is not is an error.
Result<Read> read(const Matrix& matrix, const Quantization::Scheme* scheme, bool must_be_ternary);

}  // namespace tern::mlx
