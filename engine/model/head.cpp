#include "engine/model/head.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/parallel.h"
#include "engine/io/formats.h"
#include "kernels/split_pack.h"

namespace tern {
namespace {

// A head that the caches hold gains little from being smaller.
constexpr size_t kCachedHeadBytes = size_t{16} << 20;
// Rows packed by one thread at a time.
constexpr int64_t kRowGrain = 16;
// Weights of about 1e-4 would give halves d with few bits: all are multiplied by this, and products divided.
constexpr float kUpscale = 4096.0F;

Error bad_weight(const Tensor& tensor) {
  return Error{"tensor " + tensor.name +
               ": expected weights that are numbers of ordinary size, found others; the file is "
               "damaged."};
}

// Where the parts of a split head lie; all begin at multiples of 64.
void lay_out(SplitMatrix& w, const uint8_t* memory) {
  const auto rows = static_cast<size_t>(w.rows);
  w.coarse = memory;
  w.fine = w.coarse + rows * w.coarse_row_bytes();
  w.norms = reinterpret_cast<const SplitNorms*>(w.fine + rows * w.fine_row_bytes());
}

}  // namespace

Result<HeadType> choose_head_type(HeadType wanted, const Tensor& tensor) {
  const std::string_view name = tensor.format->name;
  if (wanted == HeadType::kAuto) {
    // Nothing is rounded unless the user asks for it: of all types only Q6_K has a split form with the same numbers.
    const bool worth_it = name == "Q6_K" && tensor.data.size() > kCachedHeadBytes;
    return worth_it ? HeadType::kQ6K : HeadType::kKeep;
  }
  if (tensor.format->ternary && wanted != HeadType::kKeep) {
    return Error{"tensor " + tensor.name + ": expected a dense head to convert, found " +
                 std::string(name) + ", which is smaller already. Use --head-type auto or keep."};
  }
  const bool same =
      (wanted == HeadType::kF16 && name == "F16") || (wanted == HeadType::kQ8_0 && name == "Q8_0");
  return same ? HeadType::kKeep : wanted;
}

Result<SplitHead> split_head(const Tensor& tensor, const DenseMatrix& dense,
                             const KernelTable& kernels, int threads) {
  SplitHead head;
  SplitMatrix& w = head.matrix;
  w.rows = dense.rows;
  w.cols = dense.cols;
  const auto rows = static_cast<size_t>(dense.rows);
  const size_t coarse_bytes = rows * w.coarse_row_bytes();
  const size_t fine_bytes = rows * w.fine_row_bytes();
  head.memory = AlignedBuffer(coarse_bytes + fine_bytes + rows * sizeof(SplitNorms));
  auto* coarse = reinterpret_cast<uint8_t*>(head.memory.data());
  uint8_t* fine = coarse + coarse_bytes;
  auto* norms = reinterpret_cast<SplitNorms*>(fine + fine_bytes);
  lay_out(w, coarse);

  const bool lossless = dense.type == DenseType::kQ6_K;
  head.scale = split_head_scale(dense.type);
  std::atomic<bool> valid = true;
  parallel_for(threads, dense.rows, kRowGrain, [&](int64_t begin, int64_t end, int) {
    std::vector<float> weights(static_cast<size_t>(dense.cols));
    for (auto row = static_cast<size_t>(begin); row < static_cast<size_t>(end) && valid; ++row) {
      const SplitRowBytes out{coarse + row * w.coarse_row_bytes(), fine + row * w.fine_row_bytes(),
                              norms + row};
      if (lossless) {
        valid = split_q6_k_row(dense.data + row * dense.row_bytes(), w, out) && valid;
        continue;
      }
      kernels.dense_row(dense, static_cast<int32_t>(row), weights.data());
      for (float& weight : weights) {
        weight *= kUpscale;
      }
      valid = split_float_row(weights.data(), w, out) && valid;
    }
  });
  if (!valid) {
    return bad_weight(tensor);
  }
  return head;
}

float split_head_scale(DenseType type) {
  return type == DenseType::kQ6_K ? 1.0F : 1.0F / kUpscale;
}

Result<SplitMatrix> view_split_head(const Tensor& tensor) {
  if (tensor.format != &formats::kSplitHead) {
    return Error{"tensor " + tensor.name + ": expected a split output head, found " +
                 std::string(tensor.format->name) + "."};
  }
  SplitMatrix w;
  w.rows = static_cast<int32_t>(tensor.rows());
  w.cols = static_cast<int32_t>(tensor.cols());
  lay_out(w, reinterpret_cast<const uint8_t*>(tensor.data.data()));
  const bool numbers = std::all_of(w.norms, w.norms + w.rows, [](const SplitNorms& norms) {
    return std::isfinite(norms.coarse) && std::isfinite(norms.fine);
  });
  return numbers ? Result<SplitMatrix>(w) : bad_weight(tensor);
}

Result<DenseHead> convert_head(const Tensor& tensor, const DenseMatrix& dense, DenseType type,
                               const KernelTable& kernels, int threads) {
  TERN_CHECK(type == DenseType::kF16 || type == DenseType::kQ8_0, "heads become F16 or Q8_0");
  const WeightFormat* format = find_weight_format(type == DenseType::kF16 ? "F16" : "Q8_0");
  if (dense.cols % format->block_weights != 0) {
    return Error{"tensor " + tensor.name + ": expected rows of a multiple of " +
                 std::to_string(format->block_weights) + " weights for " +
                 std::string(format->name) + ", found " + std::to_string(dense.cols) +
                 ". Use another --head-type."};
  }
  DenseHead head;
  head.matrix = DenseMatrix{nullptr, dense.rows, dense.cols, type};
  const size_t row_bytes = head.matrix.row_bytes();
  head.memory = AlignedBuffer(row_bytes * static_cast<size_t>(dense.rows));
  head.matrix.data = reinterpret_cast<const uint8_t*>(head.memory.data());
  std::byte* out = head.memory.data();
  parallel_for(threads, dense.rows, kRowGrain, [&](int64_t begin, int64_t end, int) {
    std::vector<float> weights(static_cast<size_t>(dense.cols));
    for (int64_t row = begin; row < end; ++row) {
      kernels.dense_row(dense, static_cast<int32_t>(row), weights.data());
      format->encode(weights, 0.0F, out + static_cast<size_t>(row) * row_bytes);
    }
  });
  return head;
}

}  // namespace tern
