#include "engine/model/lora.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/io/lora_file.h"
#include "engine/model/weights.h"

namespace tern {

// One adapter's share in a matrix.
struct LoraSet::Part {
  DenseMatrix a, b;
  float scale;
  bool gguf_rows;  // how B's rows are ordered, where that matters
};

namespace {

// Ranks in use are 4 to 256; sums of a few of these stay far within 32 bits.
constexpr int64_t kLargestRank = 1 << 16;

bool has_rotated_rows(std::string_view target) {
  return target.ends_with(".attn_q.weight") || target.ends_with(".attn_k.weight");
}

// Where row `row` of the model lies in an adapter whose heads are ordered otherwise: one of them keeps the two values of a
// rotated pair side by side, the other the first values of all pairs before the second ones.
int32_t reordered(int32_t row, int32_t head_dim, bool model_has_halves) {
  const int32_t half = head_dim / 2;
  const int32_t in_head = row % head_dim;
  const int32_t first = row - in_head;
  return model_has_halves ? first + 2 * (in_head % half) + in_head / half
                          : first + half * (in_head % 2) + in_head / 2;
}

// The number type of a matrix that is put together of these: their own, where they agree and have one number a weight.
DenseType common_type(std::span<const DenseType> types) {
  const DenseType first = types.front();
  const bool single = dense_type_info(first).block_weights == 1;
  const bool equal =
      std::all_of(types.begin(), types.end(), [&](DenseType t) { return t == first; });
  return single && equal ? first : DenseType::kF32;
}

void copy_row(const KernelTable& kernels, const DenseMatrix& from, int32_t row, DenseType to,
              uint8_t* out) {
  if (from.type == to) {
    std::memcpy(out, from.data + static_cast<size_t>(row) * from.row_bytes(), from.row_bytes());
  } else {
    kernels.dense_row(from, row, reinterpret_cast<float*>(out));
  }
}

Result<DenseMatrix> dense_of(const Tensor& tensor) {
  const std::optional<DenseType> type = dense_type_of(*tensor.format);
  if (!type) {
    return Error{"tensor " + printable(tensor.name) +
                 ": expected numbers, found the ternary type " + std::string(tensor.format->name) +
                 "."};
  }
  return DenseMatrix{reinterpret_cast<const uint8_t*>(tensor.data.data()),
                     static_cast<int32_t>(tensor.rows()), static_cast<int32_t>(tensor.cols()),
                     *type};
}

Result<void> check_target(const LoraPair& pair, const TensorFile& model, const ModelConfig& config,
                          bool gguf_rows) {
  const std::string where = "adapter of " + printable(pair.target);
  if (pair.target == "token_embd.weight" || pair.target == "output.weight") {
    return Error{where +
                 ": expected adapters of a layer's matrices only; Tern does not adapt the "
                 "embedding and the output head."};
  }
  const std::string stem = pair.target.substr(0, pair.target.rfind('.'));
  if (model.find(stem + ".path0.stage0.signs") != nullptr) {
    return Error{where +
                 ": expected a matrix that is not factored, found one that is; Tern does not add "
                 "adapters to these. Leave --lora out."};
  }
  const Tensor* tensor = model.find(pair.target);
  // Folders show each expert as a matrix of its own.
  if (pair.target.find("_exps.") != std::string::npos) {
    return Error{where +
                 ": expected a matrix that every token meets, found one of an expert; Tern does "
                 "not adapt experts. Leave --lora out."};
  }
  if (tensor == nullptr || tensor->shape.size() != 2) {
    return Error{where +
                 ": expected a matrix of the model, which has none of that name. Is it an "
                 "adapter of another model?"};
  }
  if (pair.a.cols() != tensor->cols() || pair.b.rows() != tensor->rows()) {
    return Error{where + ": expected A of " + std::to_string(tensor->cols()) +
                 " columns and B of " + std::to_string(tensor->rows()) + " rows, found " +
                 std::to_string(pair.a.cols()) + " and " + std::to_string(pair.b.rows()) +
                 ". Is it an adapter of another model?"};
  }
  if (pair.rank() > kLargestRank) {
    return Error{where + ": expected a rank of at most " + std::to_string(kLargestRank) +
                 ", found " + std::to_string(pair.rank()) + "."};
  }
  const bool halves = gguf_rows ? config.ropes.front().gguf_rotate_half : true;
  if (has_rotated_rows(pair.target) && halves != config.ropes.front().rotate_half &&
      config.head_dim % 2 != 0) {
    return Error{where + ": expected heads of an even size, found " +
                 std::to_string(config.head_dim) + "."};
  }
  return {};
}

}  // namespace

Result<LoraSet> LoraSet::open(std::span<const LoraSource> sources, const TensorFile& model,
                              const ModelConfig& config, const KernelTable& kernels) {
  std::vector<LoraFile> files;
  std::map<std::string, std::vector<Part>> parts;
  for (const LoraSource& source : sources) {
    ASSIGN_OR_RETURN(LoraFile file, LoraFile::open(source.path));
    if (!file.architecture.empty() && file.architecture != config.architecture) {
      return Error{source.path.string() + ": key general.architecture: expected the model's, " +
                   config.architecture + ", found " + printable(file.architecture) + "."};
    }
    for (const LoraPair& pair : file.pairs) {
      Result<DenseMatrix> a = dense_of(pair.a);
      Result<DenseMatrix> b = dense_of(pair.b);
      const Result<void> fits = check_target(pair, model, config, file.gguf_rows);
      if (!a || !b || !fits) {
        return (!fits ? fits.error() : !a ? a.error() : b.error()).in(source.path.string());
      }
      if (const float scale = pair.scale * source.scale; scale != 0) {
        parts[pair.target].push_back({*a, *b, scale, file.gguf_rows});
      }
    }
    files.push_back(std::move(file));
  }
  if (!parts.empty() && config.input_norms) {
    return Error{
        sources.front().path.string() +
        ": expected a model whose matrices have no norms of their own, found one that has; Tern "
        "does not add adapters to these."};
  }
  LoraSet set;
  for (const auto& [target, of_target] : parts) {
    set.build(target, of_target, config, kernels);
  }
  return set;
}

void LoraSet::build(const std::string& target, std::span<const Part> parts,
                    const ModelConfig& config, const KernelTable& kernels) {
  std::vector<DenseType> types_a;
  std::vector<DenseType> types_b;
  LowRank out;
  out.a.cols = parts.front().a.cols;
  out.b.rows = parts.front().b.rows;
  for (const Part& part : parts) {
    types_a.push_back(part.a.type);
    types_b.push_back(part.b.type);
    out.a.rows += part.a.rows;
    out.b.cols += part.b.cols;
  }
  out.a.type = common_type(types_a);
  out.b.type = common_type(types_b);

  AlignedBuffer a(out.a.row_bytes() * static_cast<size_t>(out.a.rows), Pages::kSmall);
  AlignedBuffer b(out.b.row_bytes() * static_cast<size_t>(out.b.rows), Pages::kSmall);
  AlignedBuffer scales(static_cast<size_t>(out.rank()) * sizeof(float), Pages::kSmall);
  auto* at_a = reinterpret_cast<uint8_t*>(a.data());
  auto* at_scale = reinterpret_cast<float*>(scales.data());
  for (const Part& part : parts) {
    for (int32_t row = 0; row < part.a.rows; ++row) {
      copy_row(kernels, part.a, row, out.a.type, at_a);
      at_a += out.a.row_bytes();
      *at_scale++ = part.scale;
    }
  }
  auto* at_b = reinterpret_cast<uint8_t*>(b.data());
  for (int32_t row = 0; row < out.b.rows; ++row) {
    for (const Part& part : parts) {
      const bool halves = part.gguf_rows ? config.ropes.front().gguf_rotate_half : true;
      const bool reorder = has_rotated_rows(target) && halves != config.ropes.front().rotate_half;
      const int32_t from =
          reorder ? reordered(row, config.head_dim, config.ropes.front().rotate_half) : row;
      copy_row(kernels, part.b, from, out.b.type, at_b);
      at_b += static_cast<size_t>(part.b.cols) *
              static_cast<size_t>(dense_type_info(out.b.type).block_bytes);
    }
  }
  out.a.data = reinterpret_cast<const uint8_t*>(a.data());
  out.b.data = reinterpret_cast<const uint8_t*>(b.data());
  out.scale = reinterpret_cast<const float*>(scales.data());
  by_target_.emplace(target, out);
  buffers_.push_back(std::move(a));
  buffers_.push_back(std::move(b));
  buffers_.push_back(std::move(scales));
}

size_t LoraSet::bytes() const {
  size_t bytes = 0;
  for (const AlignedBuffer& buffer : buffers_) {
    bytes += buffer.size();
  }
  return bytes;
}

const LowRank* LoraSet::find(std::string_view target) const {
  const auto found = by_target_.find(target);
  return found == by_target_.end() ? nullptr : &found->second;
}

}  // namespace tern
