#pragma once
// Which tensors a converted file has, and what lies in them in another order than in the source.

#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/io/tensor_file.h"
#include "tools/convert_matrix.h"

namespace tern::cli {

// The tensors of a file in their order, but experts that lie apart one after another, where the first that comes lies. Errors: experts
// that are missing or of another shape.
Result<std::vector<const Tensor*>> experts_together(const TensorFile& in);

// Whether a tensor holds experts, all or one of them.
bool is_experts(const Tensor& tensor);

// Errors: experts in a type that cannot hold several in one tensor.
Result<void> check_experts_type(const Tensor& tensor, const WeightFormat& to);

// A tensor's name in a GGUF file, which has one for all experts of a matrix. `architecture`: of a folder, or empty.
std::string name_in_gguf(const Tensor& tensor, std::string_view architecture);

// Puts Qwen3.5's heads of values in the order of GGUF files. Those of `values` are nothing if there is nothing to do.
void order_values(const Tensor& tensor, const ValueHeads& values, MatrixSource& source);

}  // namespace tern::cli
