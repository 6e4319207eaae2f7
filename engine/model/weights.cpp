#include "engine/model/weights.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <optional>

#include "engine/base/parallel.h"
#include "engine/io/experts.h"
#include "engine/io/formats.h"
#include "engine/io/other_parts.h"
#include "engine/model/expert_matrix.h"
#include "kernels/pack.h"

namespace tern {
namespace {

constexpr int kTilesPerThread = 8;

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape) {
    text += (text.empty() ? "" : " x ") + std::to_string(size);
  }
  return text;
}

// The most that the scales of a ternary matrix take once it is packed.
size_t scale_bytes(const Tensor& tensor) {
  const WeightFormat& format = *tensor.format;
  const bool one = format.cols_per_scale == 0;
  return sizeof(float) *
         static_cast<size_t>(one ? 1 : tensor.count() / format.scale_width(tensor.cols()));
}

}  // namespace

std::optional<DenseType> dense_type_of(const WeightFormat& format) {
  const auto* const end = std::end(kDenseTypeNames);
  const auto* const found = std::find(std::begin(kDenseTypeNames), end, format.name);
  return found == end ? std::nullopt
                      : std::optional(static_cast<DenseType>(found - kDenseTypeNames));
}

namespace {

DenseMatrix view_dense(const Tensor& tensor, DenseType type) {
  return DenseMatrix{reinterpret_cast<const uint8_t*>(tensor.data.data()),
                     static_cast<int32_t>(tensor.rows()), static_cast<int32_t>(tensor.cols()),
                     type};
}

Error bad_code(const Tensor& tensor) {
  return Error{"tensor " + tensor.name +
               ": expected ternary codes, found one that stands for no weight; " +
               "the file is damaged or was written in another layout of " +
               std::string(tensor.format->name) + "."};
}

Error bad_scale(const Tensor& tensor) {
  return Error{"tensor " + tensor.name +
               ": expected finite scales, found one that is not a number; the file is damaged."};
}

// As the kernels see it. Errors: a tensor that is no matrix in itself (a split head).
Result<DenseMatrix> require_dense(const Tensor& tensor) {
  if (const std::optional<DenseMatrix> matrix = dense_matrix(tensor)) {
    return *matrix;
  }
  return Error{"tensor " + tensor.name + ": expected a matrix of weights, found " +
               std::string(tensor.format->name) + ", which is of use beside one only."};
}

}  // namespace

float mean_magnitude(const Tensor& tensor, int threads) {
  if (tensor.format->sum_of_magnitudes == nullptr) {
    return 0;
  }
  const auto rows = static_cast<size_t>(tensor.rows());
  const size_t row_bytes = tensor.data.size() / rows;
  std::vector<double> sums(rows);
  parallel_for(threads, tensor.rows(), 1, [&](int64_t begin, int64_t end, int) {
    for (auto row = static_cast<size_t>(begin); row < static_cast<size_t>(end); ++row) {
      sums[row] = tensor.format->sum_of_magnitudes(tensor.data.subspan(row * row_bytes, row_bytes));
    }
  });
  const double total = std::accumulate(sums.begin(), sums.end(), 0.0);
  return std::max(static_cast<float>(total / static_cast<double>(tensor.count())), 1e-5F);
}

std::optional<DenseMatrix> dense_matrix(const Tensor& tensor) {
  return dense_matrix(tensor, *tensor.format);
}

std::optional<DenseMatrix> dense_matrix(const Tensor& tensor, const WeightFormat& format) {
  const std::optional<DenseType> type = dense_type_of(format);
  return type ? std::optional(view_dense(tensor, *type)) : std::nullopt;
}

int32_t Linear::rows() const {
  return std::visit([](const auto& m) { return m.rows; }, matrix);
}

int32_t Linear::cols() const {
  return std::visit([](const auto& m) { return m.cols; }, matrix);
}

size_t Linear::bytes() const {
  const size_t more = lora != nullptr ? lora->bytes() : 0;
  if (factored != nullptr) {
    return more + factored->bytes();
  }
  if (const auto* ternary = std::get_if<TernaryMatrix>(&matrix)) {
    return more + packed_bytes(ternary->layout, ternary->rows, ternary->cols);
  }
  if (const auto* split = std::get_if<SplitMatrix>(&matrix)) {
    return more +
           (split->coarse_row_bytes() + split->fine_row_bytes()) * static_cast<size_t>(split->rows);
  }
  const auto& dense = std::get<DenseMatrix>(matrix);
  return more + dense.row_bytes() * static_cast<size_t>(dense.rows);
}

void Embedding::row(const KernelTable& kernels, int32_t token, float* out, int8_t* trits) const {
  if (ternary_ == nullptr) {
    kernels.dense_row(matrix_, token, out);
    return;
  }
  const int64_t cols = ternary_->cols();
  const int64_t per_scale = ternary_->format->scale_width(cols);
  // The scales of one row are decoded into the end of `out`, before the values overwrite them from the front: value i reads
  // scale i / per_scale, which lies at or after position i as long as groups hold at least one value.
  float* scales = out + (cols - cols / per_scale);
  unpack_rows(*ternary_, *ternary_->format, token, 1, trits, scales);
  for (int64_t group_index = 0; group_index < cols / per_scale; ++group_index) {
    const float scale = scales[group_index];
    for (int64_t i = group_index * per_scale; i < (group_index + 1) * per_scale; ++i) {
      out[i] = static_cast<float>(trits[i]) * scale;
    }
  }
}

Weights::Weights(const TensorFile& file, const KernelTable& kernels, int threads, Progress progress,
                 const TernaryChoice& choice)
    : file_(file),
      kernels_(kernels),
      choice_(file, kernels, choice),
      threads_(threads),
      progress_(std::move(progress)) {
  size_t codes = 0;
  for (const Tensor& tensor : file.tensors()) {
    const WeightFormat& format = *tensor.format;
    // Experts have memory of their own.
    if (format.ternary && tensor.shape.size() == 2 && !choice_.in_place(format) &&
        !parse_expert_name(tensor.name)) {
      bytes_total_ += tensor.data.size();
      codes += Arena::cost(packed_bytes(choice_.of(format).layout, tensor.rows(), tensor.cols())) +
               Arena::cost(scale_bytes(tensor));
    }
  }
  codes_ = Arena(codes);
  memory_.computed = file.converted_bytes();
}

Weights::Weights(const TensorFile& file, const KernelTable& kernels, const TernaryChoice& choice,
                 ShapesOnly /*only*/)
    : file_(file),
      kernels_(kernels),
      choice_(file, kernels, choice),
      shapes_only_(true),
      threads_(1) {
  memory_.computed = file.converted_bytes();
}

Weights Weights::shapes(const TensorFile& file, const KernelTable& kernels,
                        const TernaryChoice& choice) {
  return {file, kernels, choice, ShapesOnly()};
}

Result<const Tensor*> Weights::require(std::string_view name, const std::vector<int64_t>& shape) {
  const Tensor* tensor = file_.find(name);
  if (tensor == nullptr) {
    return Error{"tensor " + std::string(name) + ": expected " + shape_text(shape) +
                 ", found no such tensor."};
  }
  if (!std::equal(shape.begin(), shape.end(), tensor->shape.begin(), tensor->shape.end())) {
    return Error{"tensor " + std::string(name) + ": expected " + shape_text(shape) + ", found " +
                 shape_text(tensor->shape) + " " + std::string(tensor->format->name) + "."};
  }
  taken_.emplace(name);
  return tensor;
}

void Weights::ignore_all(std::string_view prefix) {
  for (const Tensor& tensor : file_.tensors()) {
    if (tensor.name.starts_with(prefix)) {
      taken_.insert(tensor.name);
    }
  }
}

Result<std::span<const float>> Weights::vector(std::string_view name, int64_t size) {
  return floats(name, {size});
}

Result<std::span<const float>> Weights::floats(std::string_view name,
                                               const std::vector<int64_t>& shape) {
  ASSIGN_OR_RETURN(const Tensor* tensor, require(name, shape));
  const std::optional<DenseType> type = dense_type_of(*tensor->format);
  if (!type) {
    return Error{"tensor " + std::string(name) + ": expected F32, F16 or BF16, found " +
                 std::string(tensor->format->name) + "."};
  }
  AlignedBuffer buffer(static_cast<size_t>(tensor->count()) * sizeof(float));
  auto* values = reinterpret_cast<float*>(buffer.data());
  const DenseMatrix matrix = view_dense(*tensor, *type);
  for (int32_t row = 0; row < matrix.rows; ++row) {
    kernels_.dense_row(matrix, row, values + int64_t{row} * matrix.cols);
  }
  memory_.computed += buffer.size();
  buffers_.push_back(std::move(buffer));
  return std::span<const float>(values, static_cast<size_t>(tensor->count()));
}

Result<FactorStage> Weights::factor_stage(const std::string& name, int32_t cols) {
  const Tensor& signs = *file_.find(name + ".signs");
  ASSIGN_OR_RETURN(const Tensor* tensor, require(signs.name, {cols, signs.rows()}));
  const Tensor* scales = file_.find(name + ".in");
  const int64_t envelopes = scales != nullptr ? scales->rows() : 1;
  FactorStage stage;
  ASSIGN_OR_RETURN(stage.in, floats(name + ".in", {cols, envelopes}));
  ASSIGN_OR_RETURN(stage.out, floats(name + ".out", {signs.rows(), envelopes}));
  ASSIGN_OR_RETURN(const Linear packed, ternary(*tensor, 1.0F));
  stage.signs = std::get<TernaryMatrix>(packed.matrix);
  stage.kernel = packed.kernel;
  stage.envelopes = static_cast<int32_t>(envelopes);
  return stage;
}

Result<Linear> Weights::factored(const std::string& stem, int32_t rows, int32_t cols) {
  auto matrix = std::make_unique<FactoredMatrix>();
  const auto name = [&](size_t path, size_t stage) {
    return stem + ".path" + std::to_string(path) + ".stage" + std::to_string(stage);
  };
  for (size_t path = 0; has(name(path, 0) + ".signs"); ++path) {
    std::vector<FactorStage>& stages = matrix->paths.emplace_back();
    int32_t width = cols;
    for (size_t s = 0; has(name(path, s) + ".signs"); ++s) {
      ASSIGN_OR_RETURN(const FactorStage stage, factor_stage(name(path, s), width));
      stages.push_back(stage);
      width = stage.signs.rows;
    }
    if (width != rows) {
      return Error{"tensor " + name(path, stages.size() - 1) + ".signs: expected " +
                   std::to_string(rows) + " rows, found " + std::to_string(width) + "."};
    }
  }
  if (const std::string bias = stem + ".bias"; has(bias)) {
    ASSIGN_OR_RETURN(const std::span<const float> values, vector(bias, rows));
    if (!std::ranges::all_of(values, [](float value) { return value == 0; })) {
      return Error{"tensor " + bias +
                   ": expected zeros, found others; Tern does not add biases to factored "
                   "matrices."};
    }
  }
  if (const std::string norm = stem + ".layer_norm"; has(norm)) {
    ASSIGN_OR_RETURN(const std::span<const float> eps, vector(norm, 1));
    matrix->norm_eps = eps[0];
  }
  Linear linear{DenseMatrix{nullptr, rows, cols, DenseType::kF32}};
  linear.factored = factored_.emplace_back(std::move(matrix)).get();
  linear.rotation = rotation_of(stem + ".weight", cols);
  return linear;
}

Result<Linear> Weights::linear(std::string_view name, int32_t rows, int32_t cols) {
  const std::string stem(name.substr(0, name.rfind('.')));
  if (has(stem + ".path0.stage0.signs")) {
    return factored(stem, rows, cols);
  }
  ASSIGN_OR_RETURN(const Tensor* tensor, require(name, {cols, rows}));
  ASSIGN_OR_RETURN(const float scale, separate_scale(name));
  Linear linear;
  if (tensor->format->ternary) {
    ASSIGN_OR_RETURN(linear, ternary(*tensor, scale));
  } else {
    ASSIGN_OR_RETURN(const DenseMatrix dense, require_dense(*tensor));
    linear = Linear{dense, nullptr, scale};
    memory_.mapped += file_.holds(*tensor) ? tensor->data.size() : 0;
    if (tensor == embedding_) {
      memory_.looked_up = 0;  // the same pages
    }
  }
  linear.rotation = rotation_of(name, cols);
  linear.lora = adapters_ != nullptr ? adapters_->find(name) : nullptr;
  if (linear.lora != nullptr && linear.rotation.block > 0) {
    return Error{"tensor " + std::string(name) +
                 ": its inputs are rotated, and Tern does not add adapters to such matrices. Leave "
                 "--lora out."};
  }
  return linear;
}

Result<Linear> Weights::head(std::string_view name, int32_t rows, int32_t cols, HeadType type) {
  ASSIGN_OR_RETURN(Linear linear, unrotated_head(name, rows, cols, type));
  linear.rotation = rotation_of(name, cols);
  return linear;
}

Result<Linear> Weights::unrotated_head(std::string_view name, int32_t rows, int32_t cols,
                                       HeadType wanted) {
  ASSIGN_OR_RETURN(const Tensor* tensor, require(name, {cols, rows}));
  ASSIGN_OR_RETURN(const HeadType type, choose_head_type(wanted, *tensor));
  ASSIGN_OR_RETURN(const float scale, separate_scale(name));
  if (const std::string prepared_name = std::string(name) + std::string(kPreparedHead);
      has(prepared_name)) {
    ASSIGN_OR_RETURN(const Tensor* prepared, require(prepared_name, {cols, rows}));
    if (type == (prepared->format->ternary ? HeadType::kKeep : HeadType::kQ6K)) {
      return prepared_head(*prepared, *tensor, scale);
    }
  }
  if (type == HeadType::kKeep) {
    return linear(name, rows, cols);
  }
  return made_head(*tensor, type, scale);
}

Result<Linear> Weights::made_head(const Tensor& tensor, HeadType type, float scale) {
  ASSIGN_OR_RETURN(const DenseMatrix dense, require_dense(tensor));
  const DenseType to = type == HeadType::kF16 ? DenseType::kF16 : DenseType::kQ8_0;
  Linear linear;
  if (shapes_only_ && type == HeadType::kQ6K) {
    linear = Linear{SplitMatrix{.rows = dense.rows, .cols = dense.cols}, nullptr, scale};
    memory_.computed += tensor_bytes(formats::kSplitHead, tensor.rows(), tensor.cols());
  } else if (shapes_only_) {
    linear = Linear{DenseMatrix{nullptr, dense.rows, dense.cols, to}, nullptr, scale};
    memory_.computed += linear.bytes();
  } else if (type == HeadType::kQ6K) {
    ASSIGN_OR_RETURN(SplitHead head, split_head(tensor, dense, kernels_, threads_));
    linear = Linear{head.matrix, nullptr, scale * head.scale};
    memory_.computed += head.memory.size();
    buffers_.push_back(std::move(head.memory));
  } else {
    ASSIGN_OR_RETURN(DenseHead head, convert_head(tensor, dense, to, kernels_, threads_));
    linear = Linear{head.matrix, nullptr, scale};
    memory_.computed += head.memory.size();
    buffers_.push_back(std::move(head.memory));
  }
  // An embedding that shares the tensor touches single rows of it from now on.
  file_.files()[static_cast<size_t>(tensor.file)].drop(tensor.data);
  return linear;
}

Result<Linear> Weights::prepared_head(const Tensor& prepared, const Tensor& tensor, float scale) {
  if (prepared.format->ternary && tensor.format->ternary) {
    return ternary(prepared, scale);
  }
  if (tensor.format->ternary) {
    return Error{"tensor " + prepared.name + ": expected ternary weights as those of " +
                 tensor.name + ", found " + std::string(prepared.format->name) + "."};
  }
  ASSIGN_OR_RETURN(const DenseMatrix dense, require_dense(tensor));
  ASSIGN_OR_RETURN(const SplitMatrix split, view_split_head(prepared));
  memory_.mapped += prepared.data.size();
  if (!shapes_only_) {
    file_.files()[static_cast<size_t>(prepared.file)].will_need(prepared.data);
  }
  return Linear{split, nullptr, scale * split_head_scale(dense.type)};
}

Weights::Weights(Weights&& other) noexcept = default;
Weights::~Weights() = default;

// All in one tensor, or each in one of its own.
Result<std::vector<Expert>> Weights::find_experts(std::string_view name, int32_t rows, int32_t cols,
                                                  int32_t count) {
  std::vector<Expert> out;
  const bool together = !has(expert_name(name, 0));
  for (int32_t i = 0; i < count; ++i) {
    if (together) {
      ASSIGN_OR_RETURN(const Tensor* tensor, require(name, {cols, rows, count}));
      out.push_back({tensor, int64_t{i} * rows});
      continue;
    }
    const std::string own = expert_name(name, i);
    ASSIGN_OR_RETURN(const Tensor* tensor, require(own, {cols, rows}));
    ASSIGN_OR_RETURN(const float scale, separate_scale(own));
    if (!out.empty() && tensor->format != out.front().tensor->format) {
      return Error{"tensor " + own + ": expected " + std::string(out.front().tensor->format->name) +
                   " as those of the experts before it, found " +
                   std::string(tensor->format->name) + "."};
    }
    out.push_back({tensor, 0, scale});
  }
  return out;
}

Result<const ExpertMatrix*> Weights::experts(std::string_view name, int32_t rows, int32_t cols,
                                             int32_t count) {
  ASSIGN_OR_RETURN(std::vector<Expert> found, find_experts(name, rows, cols, count));
  const Tensor& first = *found.front().tensor;
  const WeightFormat& format = *first.format;
  if (format.ternary) {
    // Experts that share a tensor must not share rows of blocks or its only scale.
    const bool shared =
        first.shape.size() > 2 && (format.cols_per_scale == 0 || format.row_group != 1);
    const bool narrow = format.cols_per_scale > 0 && format.cols_per_scale % kQ8SumBlock != 0;
    if (shared || narrow || format.packed() || !rotation_of(name, cols).signs.empty()) {
      return Error{
          "tensor " + std::string(name) +
          ": expected experts in a format of blocks within rows (TQ1_0, TQ2_0, Q2_0), found " +
          std::string(format.name) + "."};
    }
    const TernaryKernel& kernel = choice_.of(format);
    const auto trits =
        static_cast<size_t>(kernel.layout.tile_rows) * static_cast<size_t>(std::max(rows, cols));
    if (expert_packer_ == nullptr) {
      expert_packer_ = std::make_unique<ExpertPacker>(
          threads_, std::max(threads_, usable_cpu_count()), file_.files());
    }
    memory_.computed -= expert_packer_->trits.size();
    expert_packer_->reserve(trits);
    memory_.computed += expert_packer_->trits.size();
    expert_matrices_.push_back(
        std::make_unique<ExpertMatrix>(std::move(found), rows, kernel, *expert_packer_));
  } else {
    RETURN_IF_ERROR(require_dense(first));
    expert_matrices_.push_back(std::make_unique<ExpertMatrix>(std::move(found), rows));
  }
  if (format.ternary || file_.holds(first)) {
    memory_.experts += expert_matrices_.back()->all_bytes();
  }
  return expert_matrices_.back().get();
}

Result<Embedding> Weights::embedding(std::string_view name, int32_t rows, int32_t cols) {
  ASSIGN_OR_RETURN(const Tensor* tensor, require(name, {cols, rows}));
  memory_.looked_up = file_.holds(*tensor) ? tensor->data.size() : 0;
  embedding_ = tensor;
  if (tensor->format->ternary) {
    return Embedding(*tensor);
  }
  ASSIGN_OR_RETURN(const DenseMatrix dense, require_dense(*tensor));
  return Embedding(dense);
}

Result<float> Weights::separate_scale(std::string_view name) {
  const std::string_view stem = name.substr(0, name.rfind('.'));
  for (const std::string& candidate :
       {std::string(stem) + ".scale", std::string(name) + "_scale"}) {
    if (has(candidate)) {
      ASSIGN_OR_RETURN(const std::span<const float> scale, vector(candidate, 1));
      if (!std::isfinite(scale[0])) {
        return Error{"tensor " + candidate + ": expected a number, found " +
                     std::to_string(scale[0]) + "."};
      }
      return scale[0];
    }
  }
  return 1.0F;
}

Result<Linear> Weights::ternary(const Tensor& tensor, float scale) {
  if (choice_.in_place(*tensor.format)) {
    return view_packed(tensor, scale);
  }
  if (tensor.format->packed() && repacked_ == nullptr) {
    repacked_ = &tensor;
  }
  return pack(tensor, scale);
}

Result<Linear> Weights::view_packed(const Tensor& tensor, float scale) {
  const TernaryKernel& kernel = choice_.of(*tensor.format);
  const auto rows = static_cast<int32_t>(tensor.rows());
  const auto cols = static_cast<int32_t>(tensor.cols());
  const bool one = tensor.format->cols_per_scale == 0;
  const TernaryMatrix matrix{reinterpret_cast<const uint8_t*>(tensor.data.data()),
                             reinterpret_cast<const float*>(tensor.scales.data()),
                             rows,
                             cols,
                             one ? rows : 1,
                             static_cast<int32_t>(tensor.format->scale_width(cols)),
                             kernel.layout};
  // Scales of groups are too many to be read before they are needed.
  const size_t checked = one ? 1 : matrix.cols_per_scale == cols ? static_cast<size_t>(rows) : 0;
  if (!std::all_of(matrix.scales, matrix.scales + checked,
                   [](float s) { return std::isfinite(s); })) {
    return bad_scale(tensor);
  }
  memory_.mapped += tensor.data.size() + tensor.scales.size();
  if (!shapes_only_) {
    file_.files()[static_cast<size_t>(tensor.file)].will_need(tensor.data);
  }
  return Linear{matrix, &kernel, scale};
}

std::vector<std::string> Weights::notices() const {
  if (repacked_ == nullptr) {
    return {};
  }
  const WeightFormat& format = *repacked_->format;
  return {"weights that lie as " + std::string(format.name) + " in the file were repacked as " +
          std::string(stored_format(choice_.of(format).layout).name) + " for the " + kernels_.name +
          " kernels; tern convert --type tern makes a file that these use as it lies"};
}

// Panel by panel on all threads: unpack its rows to trits, pack them in the kernel's order, keep their scales.
Result<Linear> Weights::pack(const Tensor& tensor, float scale) {
  const TernaryKernel& kernel = choice_.of(*tensor.format);
  const PackedLayout layout = kernel.layout;
  const auto rows = static_cast<int32_t>(tensor.rows());
  const auto cols = static_cast<int32_t>(tensor.cols());
  const WeightFormat& format = *tensor.format;
  const auto cols_per_scale = static_cast<int32_t>(format.scale_width(cols));
  const auto groups = static_cast<size_t>(cols / cols_per_scale);
  memory_.computed += Arena::cost(packed_bytes(layout, rows, cols));
  if (shapes_only_) {
    const bool one = format.cols_per_scale == 0;
    memory_.computed += Arena::cost(scale_bytes(tensor));
    return Linear{
        TernaryMatrix{nullptr, nullptr, rows, cols, one ? rows : 1, cols_per_scale, layout},
        &kernel, scale};
  }
  auto* codes = reinterpret_cast<uint8_t*>(codes_.take(packed_bytes(layout, rows, cols)));
  std::vector<float> scales(static_cast<size_t>(rows) * groups);
  std::atomic<bool> valid = true;
  std::atomic<bool> has_zeros = false;

  const float mean = mean_magnitude(tensor, threads_);
  // In tiles, as products will read them: a thread touches first what it is likely to read.
  parallel_tiles(
      threads_, kTilesPerThread, rows, layout.tile_rows, [&](int64_t begin, int64_t end, int) {
        std::vector<int8_t> trits(static_cast<size_t>(layout.tile_rows) *
                                  static_cast<size_t>(cols));
        for (int64_t row = begin; row < end && valid && !has_zeros; row += layout.tile_rows) {
          const int64_t count = std::min<int64_t>(layout.tile_rows, end - row);
          float tensor_scale = mean;
          float* row_scales = format.cols_per_scale == 0
                                  ? &tensor_scale
                                  : &scales[static_cast<size_t>(row) * groups];
          if (!unpack_rows(tensor, format, row, count, trits.data(), row_scales)) {
            valid = false;
            break;
          }
          if (layout.packing == Packing::kSign &&
              std::find(trits.begin(), trits.begin() + count * cols, 0) !=
                  trits.begin() + count * cols) {
            has_zeros = true;
            break;
          }
          if (format.cols_per_scale == 0) {
            std::fill_n(scales.begin() + row, count, tensor_scale);
          }
          const auto panel = static_cast<size_t>(row / layout.tile_rows);
          pack_panel(layout, trits.data(), static_cast<int32_t>(count), cols,
                     codes + panel * panel_bytes(layout, cols));
        }
      });
  if (!valid) {
    return bad_code(tensor);
  }
  if (has_zeros) {
    return Error{
        "tensor " + tensor.name +
        ": expected weights -1 and +1, which the sign kernels need, found 0. Choose another "
        "--packing."};
  }
  if (!std::all_of(scales.begin(), scales.end(), [](float s) { return std::isfinite(s); })) {
    return bad_scale(tensor);
  }

  const ScaleGrid grid = simplify_scales(std::move(scales), rows, cols, cols_per_scale);
  if (grid.cols_per_scale != cols && grid.cols_per_scale % kQ8SumBlock != 0) {
    return Error{"tensor " + tensor.name + ": expected scales for " + std::to_string(kQ8SumBlock) +
                 " columns or a multiple, found other ones every " +
                 std::to_string(grid.cols_per_scale) + " columns (" + std::string(format.name) +
                 "), which no ternary kernel reads. Use a model that was quantised in groups of 64 "
                 "or 128."};
  }
  // Beside the codes: in pages of their own each matrix would waste half a huge page.
  const size_t grid_bytes = grid.values.size() * sizeof(float);
  auto* grid_values = reinterpret_cast<float*>(codes_.take(grid_bytes));
  std::copy(grid.values.begin(), grid.values.end(), grid_values);
  const TernaryMatrix matrix{
      codes, grid_values, rows, cols, grid.rows_per_scale, grid.cols_per_scale, layout};
  memory_.computed += Arena::cost(grid_bytes);
  file_.files()[static_cast<size_t>(tensor.file)].drop(tensor.data);
  bytes_read_ += tensor.data.size();
  if (progress_) {
    progress_(static_cast<double>(bytes_read_) / static_cast<double>(bytes_total_));
  }
  return Linear{matrix, &kernel, scale};
}

Result<void> Weights::require_all_taken() const {
  for (const Tensor& tensor : file_.tensors()) {
    if (!taken_.contains(tensor.name) && other_part(tensor.name).empty()) {
      return Error{
          "tensor " + tensor.name +
          ": expected only tensors of a plain decoder, found this one, which " +
          "Tern does not know for this architecture; ignoring it would run the model wrongly."};
    }
  }
  return {};
}

}  // namespace tern
