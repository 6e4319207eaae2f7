#include "engine/model/expert_matrix.h"

#include <algorithm>
#include <utility>

#include "engine/base/parallel.h"
#include "engine/io/formats.h"
#include "kernels/pack.h"

namespace tern {

ExpertMatrix::ExpertMatrix(std::vector<Expert> experts, int32_t rows)
    : experts_(std::move(experts)),
      rows_(rows),
      cols_(static_cast<int32_t>(experts_.front().tensor->cols())) {}

ExpertMatrix::ExpertMatrix(std::vector<Expert> experts, int32_t rows, const TernaryKernel& kernel,
                           ExpertPacker& packer)
    : ExpertMatrix(std::move(experts), rows) {
  kernel_ = &kernel;
  packer_ = &packer;
  bytes_each_ = Arena::cost(packed_bytes(kernel.layout, rows_, cols_));
  // Small pages: of a huge one a single expert would make all resident.
  codes_ = AlignedArray<uint8_t>(experts_.size() * bytes_each_, Pages::kSmall);
  scales_ = AlignedArray<float>(experts_.size() * scales_each(), Pages::kSmall);
  states_ = std::make_unique<std::atomic<State>[]>(experts_.size());
}

size_t ExpertMatrix::scales_each() const {
  const bool one = format().cols_per_scale == 0;
  return one ? 1
             : static_cast<size_t>(rows_) *
                   static_cast<size_t>(cols_ / format().scale_width(cols_));
}

size_t ExpertMatrix::bytes() const {
  return shape().bytes();
}

size_t ExpertMatrix::all_bytes() const {
  return ternary() ? codes_.size() + scales_.size() * sizeof(float) : experts_.size() * bytes();
}

int32_t ExpertMatrix::packed() const {
  return ternary() ? static_cast<int32_t>(
                         std::count(states_.get(), states_.get() + experts_.size(), State::kPacked))
                   : 0;
}

Linear ExpertMatrix::dense(int32_t index, const WeightFormat& format) const {
  const Expert& expert = experts_[static_cast<size_t>(index)];
  DenseMatrix matrix = *dense_matrix(*expert.tensor, format);
  matrix.rows = rows_;
  matrix.data += static_cast<size_t>(expert.first_row) * matrix.row_bytes();
  return Linear{matrix, nullptr, expert.scale};
}

Linear ExpertMatrix::shape() const {
  if (!ternary()) {
    return dense(0, format());
  }
  return Linear{TernaryMatrix{codes_.data(), scales_.data(), rows_, cols_,
                              format().cols_per_scale == 0 ? rows_ : 1,
                              static_cast<int32_t>(format().scale_width(cols_)), kernel_->layout},
                kernel_, 1.0F};
}

Linear ExpertMatrix::of(int32_t index) const {
  if (!ternary()) {
    return dense(index, format());
  }
  const auto expert = static_cast<size_t>(index);
  std::atomic<State>& shared = states_[expert];
  State state = shared.load(std::memory_order_acquire);
  if (state == State::kUntouched) {
    const std::lock_guard lock(packer_->mutex);
    state = shared.load(std::memory_order_relaxed);
    if (state == State::kUntouched) {
      state = pack(index);
      shared.store(state, std::memory_order_release);
    }
  }
  if (state == State::kNotTernary) {
    return dense(index, *formats::floats_of_ternary(format()));
  }
  Linear out = shape();
  out.scale = experts_[expert].scale;
  auto& matrix = std::get<TernaryMatrix>(out.matrix);
  matrix.codes += expert * bytes_each_;
  matrix.scales += expert * scales_each();
  return out;
}

ExpertMatrix::State ExpertMatrix::pack(int32_t index) const {
  const auto number = static_cast<size_t>(index);
  const Expert& expert = experts_[number];
  const bool floats = formats::floats_of_ternary(format()) != nullptr;
  const bool one = format().cols_per_scale == 0;
  const float mean = mean_magnitude(*expert.tensor, packer_->threads);
  uint8_t* codes = codes_.data() + number * bytes_each_;
  float* scales = scales_.data() + number * scales_each();
  const size_t groups = scales_each() / static_cast<size_t>(one ? 1 : rows_);
  const PackedLayout& layout = kernel_->layout;
  std::atomic<bool> valid = true;
  parallel_for(
      packer_->threads, rows_, layout.tile_rows, [&](int64_t begin, int64_t end, int thread) {
        int8_t* trits = packer_->trits.data() + static_cast<size_t>(thread) * packer_->trits_each;
        for (int64_t row = begin; row < end; row += layout.tile_rows) {
          const auto count = static_cast<int32_t>(std::min<int64_t>(layout.tile_rows, end - row));
          float tensor_scale = mean;
          float* row_scales = one ? &tensor_scale : scales + static_cast<size_t>(row) * groups;
          if (!unpack_rows(*expert.tensor, format(), expert.first_row + row, count, trits,
                           row_scales)) {
            valid = false;
            // The files were checked for everything but this, which takes reading all of them: codes for no weight are 0.
            std::replace_if(
                trits, trits + int64_t{count} * cols_, [](int8_t t) { return t > 1; }, int8_t{0});
          }
          if (one && row == 0) {
            *scales = tensor_scale;
          }
          pack_panel(
              layout, trits, count, cols_,
              codes + static_cast<size_t>(row / layout.tile_rows) * panel_bytes(layout, cols_));
        }
      });
  const Tensor& tensor = *expert.tensor;
  const size_t row_bytes = tensor.data.size() / static_cast<size_t>(tensor.rows());
  packer_->files[static_cast<size_t>(tensor.file)].drop(tensor.data.subspan(
      static_cast<size_t>(expert.first_row) * row_bytes, static_cast<size_t>(rows_) * row_bytes));
  return floats && !valid ? State::kNotTernary : State::kPacked;
}

}  // namespace tern
