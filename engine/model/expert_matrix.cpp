#include "engine/model/expert_matrix.h"

#include <algorithm>

#include "engine/base/parallel.h"
#include "kernels/pack.h"

namespace tern {

ExpertMatrix::ExpertMatrix(const Tensor& tensor, DenseMatrix dense)
    : tensor_(&tensor),
      rows_(static_cast<int32_t>(tensor.shape[1])),
      cols_(static_cast<int32_t>(tensor.cols())),
      dense_(dense) {}

ExpertMatrix::ExpertMatrix(const Tensor& tensor, const TernaryKernel& kernel, ExpertPacker& packer)
    : tensor_(&tensor),
      rows_(static_cast<int32_t>(tensor.shape[1])),
      cols_(static_cast<int32_t>(tensor.cols())),
      kernel_(&kernel),
      packer_(&packer),
      bytes_each_(Arena::cost(packed_bytes(kernel.layout, rows_, cols_))) {
  const auto experts = static_cast<size_t>(tensor.shape[2]);
  // Small pages: of a huge one a single expert would make all resident.
  codes_ = AlignedArray<uint8_t>(experts * bytes_each_, Pages::kSmall);
  scales_ = AlignedArray<float>(experts * static_cast<size_t>(rows_) * groups(), Pages::kSmall);
  ready_ = std::make_unique<std::atomic<bool>[]>(experts);
}

size_t ExpertMatrix::groups() const {
  return static_cast<size_t>(cols_ / tensor_->format->scale_width(cols_));
}

size_t ExpertMatrix::bytes() const {
  return ternary() ? packed_bytes(kernel_->layout, rows_, cols_)
                   : dense_.row_bytes() * static_cast<size_t>(rows_);
}

int32_t ExpertMatrix::packed() const {
  return ternary() ? static_cast<int32_t>(
                         std::count(ready_.get(), ready_.get() + tensor_->shape[2], true))
                   : 0;
}

Linear ExpertMatrix::shape() const {
  if (!ternary()) {
    DenseMatrix first = dense_;
    first.rows = rows_;
    return Linear{first, nullptr, 1.0F};
  }
  return Linear{
      TernaryMatrix{codes_.data(), scales_.data(), rows_, cols_, 1,
                    static_cast<int32_t>(tensor_->format->scale_width(cols_)), kernel_->layout},
      kernel_, 1.0F};
}

Linear ExpertMatrix::of(int32_t index) const {
  Linear out = shape();
  const auto expert = static_cast<size_t>(index);
  if (!ternary()) {
    std::get<DenseMatrix>(out.matrix).data += expert * bytes();
    return out;
  }
  if (!ready_[expert].load(std::memory_order_acquire)) {
    const std::lock_guard lock(packer_->mutex);
    if (!ready_[expert].load(std::memory_order_relaxed)) {
      pack(index);
      ready_[expert].store(true, std::memory_order_release);
    }
  }
  auto& matrix = std::get<TernaryMatrix>(out.matrix);
  matrix.codes += expert * bytes_each_;
  matrix.scales += expert * static_cast<size_t>(rows_) * groups();
  return out;
}

void ExpertMatrix::pack(int32_t index) const {
  const auto expert = static_cast<size_t>(index);
  uint8_t* codes = codes_.data() + expert * bytes_each_;
  float* scales = scales_.data() + expert * static_cast<size_t>(rows_) * groups();
  const PackedLayout& layout = kernel_->layout;
  parallel_for(
      packer_->threads, rows_, layout.tile_rows, [&](int64_t begin, int64_t end, int thread) {
        int8_t* trits = packer_->trits.data() + static_cast<size_t>(thread) * packer_->trits_each;
        for (int64_t row = begin; row < end; row += layout.tile_rows) {
          const auto count = static_cast<int32_t>(std::min<int64_t>(layout.tile_rows, end - row));
          const bool valid =
              unpack_rows(*tensor_, *tensor_->format, int64_t{index} * rows_ + row, count, trits,
                          scales + static_cast<size_t>(row) * groups());
          if (!valid) {
            // The files were checked for everything but this, which takes reading all of them: codes for no weight are 0.
            std::replace_if(
                trits, trits + int64_t{count} * cols_, [](int8_t t) { return t > 1; }, int8_t{0});
          }
          pack_panel(
              layout, trits, count, cols_,
              codes + static_cast<size_t>(row / layout.tile_rows) * panel_bytes(layout, cols_));
        }
      });
}

}  // namespace tern
