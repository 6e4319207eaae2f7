#pragma once
// LoRA adapters made ready for the kernels: what they add to each matrix of a model.

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/buffer.h"
#include "engine/base/result.h"
#include "engine/io/tensor_file.h"
#include "engine/model/config.h"
#include "kernels/kernels.h"

namespace tern {

// y += B diag(scale) A x: all adapters of one matrix, the rows of their A and the columns of their B side by side.
struct LowRank {
  DenseMatrix a;                 // rank x columns
  DenseMatrix b;                 // rows x rank
  const float* scale = nullptr;  // rank

  int32_t rank() const { return a.rows; }
  size_t bytes() const {
    return a.row_bytes() * static_cast<size_t>(a.rows) +
           b.row_bytes() * static_cast<size_t>(b.rows);
  }
};

struct LoraSource {
  std::filesystem::path path;
  float scale = 1.0F;  // multiplies what its training laid down; 0: checked, and then left out
};

class LoraSet {
 public:
  LoraSet() = default;
  // Copies adapters out of their files. Errors: a file that is no LoRA adapter, one of another architecture, of a tensor that
  // the model lacks or that has another shape, of the embedding or the output head.
  static Result<LoraSet> open(std::span<const LoraSource> sources, const TensorFile& model,
                              const ModelConfig& config, const KernelTable& kernels);

  // What is added to the matrix of that name; null: nothing.
  const LowRank* find(std::string_view target) const;
  // Of all adapters together.
  size_t bytes() const;

 private:
  struct Part;
  void build(const std::string& target, std::span<const Part> parts, const ModelConfig& config,
             const KernelTable& kernels);

  std::map<std::string, LowRank, std::less<>> by_target_;
  std::vector<AlignedBuffer> buffers_;
};

}  // namespace tern
