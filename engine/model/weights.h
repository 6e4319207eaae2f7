#pragma once
// Tensors of a file made ready for the kernels: ternary ones packed, dense ones mapped as they are.

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/base/buffer.h"
#include "engine/base/result.h"
#include "engine/io/tensor_file.h"
#include "engine/model/factored.h"
#include "engine/model/head.h"
#include "engine/model/lora.h"
#include "engine/model/packed.h"
#include "engine/model/rotation.h"
#include "kernels/kernels.h"

namespace tern {

// y = W x, with W rows x cols. A view into Weights or into the mapped file.
struct Linear {
  // Only heads are split. A factored matrix has a dense one here that knows its shape alone.
  std::variant<TernaryMatrix, DenseMatrix, SplitMatrix> matrix;
  const TernaryKernel* kernel = nullptr;  // the one that reads a ternary matrix
  float scale =
      1.0F;  // multiplies y: of files that keep a matrix beside a scale of its own, and of models that scale what a block adds
  std::span<const float> input_norm = {};  // of an RMS norm of its own of x, or empty
  Rotation rotation = {};                  // of x
  const LowRank* lora = nullptr;           // if set, what adapters add to y
  float lora_scale = 1.0F;  // multiplies that: of models that scale what a block adds

  const FactoredMatrix* factored = nullptr;  // if set, what stands in place of the matrix

  bool ternary() const { return std::holds_alternative<TernaryMatrix>(matrix); }
  int32_t rows() const;
  int32_t cols() const;
  // Bytes that one product with one token reads.
  size_t bytes() const;
};

// The kernels' name of a dense format; none for a ternary one.
std::optional<DenseType> dense_type_of(const WeightFormat& format);

class ExpertMatrix;
struct Expert;
struct ExpertPacker;

// Rows of the token embedding, as floats.
class Embedding {
 public:
  Embedding() = default;
  explicit Embedding(const DenseMatrix& matrix) : matrix_(matrix) {}
  explicit Embedding(const Tensor& ternary) : ternary_(&ternary) {}

  // out[0, width) = the vector of `token`; `trits`: scratch of `width` bytes.
  void row(const KernelTable& kernels, int32_t token, float* out, int8_t* trits) const;

 private:
  DenseMatrix matrix_;
  const Tensor* ternary_ =
      nullptr;  // set instead of the matrix when the file's embedding is ternary
};

// What formats that round by it need (WeightFormat::sum_of_magnitudes; 0 for others): the mean magnitude of a matrix, at least
// 1e-5, whatever the number of threads.
float mean_magnitude(const Tensor& tensor, int threads);
// A dense tensor as the kernels see it; none for a ternary one.
std::optional<DenseMatrix> dense_matrix(const Tensor& tensor);
// The same of bytes that are read in another format than the tensor's.
std::optional<DenseMatrix> dense_matrix(const Tensor& tensor, const WeightFormat& format);

// Where the bytes of a model's weights lie once they are ready.
struct WeightMemory {
  uint64_t computed =
      0;  // made when the model is loaded: packed matrices and their scales, heads, vectors, what was converted
  uint64_t mapped =
      0;  // read where they lie in the file: pages that processes share, and that the system may drop
  uint64_t experts =
      0;  // of mixtures, all of them; each is made, or read, when a token first goes to it
  uint64_t looked_up =
      0;  // the token embedding where only rows of it are read: hardly any of this is in memory

  uint64_t total() const { return computed + mapped + experts; }
};

// Called with the share of the work done, 0 to 1.
using Progress = std::function<void(double done)>;

// Takes tensors out of a file, by name, with the shape that the architecture expects, and remembers which were taken.
// Owns all memory that the views it hands out point to, other than the file's own.
class Weights {
 public:
  // `choice`: of the ternary kernel to pack for; if none is wanted, 1-bit formats get the sign kernel.
  Weights(const TensorFile& file, const KernelTable& kernels, int threads, Progress progress = {},
          const TernaryChoice& choice = {});
  // The same without weights: matrices come as shapes that point nowhere, for the sake of memory(). Vectors are read.
  static Weights shapes(const TensorFile& file, const KernelTable& kernels,
                        const TernaryChoice& choice);
  Weights(Weights&& other) noexcept;

  // From here on matrices come with the rotations of their inputs. `rotations` must outlive what is handed out.
  void rotate(const Rotations& rotations) { rotations_ = &rotations; }

  // A vector of `size` floats (stored as F32, F16 or BF16).
  Result<std::span<const float>> vector(std::string_view name, int64_t size);
  // The same of any shape, fastest dimension first.
  Result<std::span<const float>> floats(std::string_view name, const std::vector<int64_t>& shape);
  // A matrix: ternary types are packed for the kernels and their pages in the file dropped, unless they lie there as the kernels read
  // them; those and dense types stay mapped.
  // A scale of its own beside it ("blk.0.attn_q.scale", "blk.0.attn_q.weight_scale") is multiplied in.
  Result<Linear> linear(std::string_view name, int32_t rows, int32_t cols);
  // The output head, converted if its type says so; the pages of what is not needed any more are dropped. A file may hold it
  // converted already (engine/io/gguf_packed.h).
  Result<Linear> head(std::string_view name, int32_t rows, int32_t cols, HeadType type);
  // The matrices of all experts of a layer: one tensor of cols x rows x count, or one for each expert.
  Result<const ExpertMatrix*> experts(std::string_view name, int32_t rows, int32_t cols,
                                      int32_t count);
  Result<Embedding> embedding(std::string_view name, int32_t rows, int32_t cols);

  // Matrices that linear() hands out from now on carry what these add to them. The set must outlive them.
  void use(const LoraSet& adapters) { adapters_ = &adapters; }
  ~Weights();

  // Of what was taken so far. Of shapes it is the most that there may be: scales that are equal take less.
  const WeightMemory& memory() const { return memory_; }

  bool has(std::string_view name) const { return file_.find(name) != nullptr; }
  // Marks a tensor as known although nothing here needs it.
  void ignore(std::string_view name) { taken_.emplace(name); }
  // The same of all tensors whose names begin so.
  void ignore_all(std::string_view prefix);
  // Errors if the file holds tensors that nobody asked for: a model with parts that Tern does not know would be run wrongly.
  Result<void> require_all_taken() const;
  // What is worth telling about how the file's weights were made ready.
  std::vector<std::string> notices() const;

 private:
  struct ShapesOnly {};
  Weights(const TensorFile& file, const KernelTable& kernels, const TernaryChoice& choice,
          ShapesOnly only);
  Result<const Tensor*> require(std::string_view name, const std::vector<int64_t>& shape);
  Result<std::vector<Expert>> find_experts(std::string_view name, int32_t rows, int32_t cols,
                                           int32_t count);
  // A ternary matrix, used in place if it lies as its kernel reads it.
  Result<Linear> ternary(const Tensor& tensor, float scale);
  Result<Linear> view_packed(const Tensor& tensor, float scale);
  Result<Linear> pack(const Tensor& tensor, float scale);
  // The matrix STEM.weight of which the file holds factors (engine/io/compressed_layers.h).
  Result<Linear> factored(const std::string& stem, int32_t rows, int32_t cols);
  Result<FactorStage> factor_stage(const std::string& name, int32_t cols);
  // The head in another form: `type` is kQ6K, kF16 or kQ8_0.
  Result<Linear> made_head(const Tensor& tensor, HeadType type, float scale);
  Result<Linear> unrotated_head(std::string_view name, int32_t rows, int32_t cols, HeadType type);
  Result<Linear> prepared_head(const Tensor& prepared, const Tensor& tensor, float scale);
  Rotation rotation_of(std::string_view name, int32_t cols) const {
    return rotations_ != nullptr ? rotations_->of(name, cols) : Rotation();
  }
  Result<float> separate_scale(std::string_view name);

  const TensorFile& file_;
  const KernelTable& kernels_;
  const Rotations* rotations_ = nullptr;
  KernelChoice choice_;
  bool shapes_only_ = false;
  WeightMemory memory_;
  const LoraSet* adapters_ = nullptr;
  int threads_;
  Progress progress_;
  std::set<std::string, std::less<>> taken_;
  const Tensor* embedding_ = nullptr;
  std::unique_ptr<ExpertPacker> expert_packer_;
  std::vector<std::unique_ptr<ExpertMatrix>> expert_matrices_;
  std::vector<std::unique_ptr<FactoredMatrix>> factored_;
  Arena codes_;                         // of all packed matrices
  std::vector<AlignedBuffer> buffers_;  // vectors and scales
  size_t bytes_read_ = 0;
  size_t bytes_total_ = 0;
  const Tensor* repacked_ = nullptr;  // the first that lay in the order of another kernel
};

}  // namespace tern
