#include "tools/convert_matrix.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <numeric>

#include "engine/base/half.h"
#include "engine/base/parallel.h"
#include "engine/model/packed.h"
#include "engine/model/weights.h"
#include "kernels/pack.h"
#include "kernels/select.h"

namespace tern::cli {
namespace {

// BitNet's: no scale is smaller.
constexpr float kLeastMean = 1e-5F;
constexpr int64_t kGrain = 16;  // rows

int64_t nonzeros(const int8_t* trits, int64_t count) {
  return count - std::count(trits, trits + count, int8_t{0});
}

// The columns that share a scale in the target, which may be the whole tensor: then those of a row.
int64_t width_in(const WeightFormat& format, int64_t cols) {
  return format.scale_width(cols);
}

}  // namespace

int64_t ValueHeads::source(int64_t index) const {
  if (keys == 0 || index < first) {
    return index;
  }
  const int64_t head = (index - first) / size;
  const int64_t in_group = values / keys;
  const int64_t grouped = head % keys * in_group + head / keys;
  return first + grouped * size + (index - first) % size;
}

int64_t MatrixSource::row(int64_t row) const {
  if (heads == 0) {
    return value_rows.source(row);
  }
  const int64_t head = tensor->rows() / heads;
  const int64_t in_head = row % head;
  return row - in_head + in_head % 2 * (head / 2) + in_head / 2;
}

bool is_ternary_throughout(const Tensor& tensor, const WeightFormat& format, int threads) {
  std::atomic<bool> ternary = true;
  const int64_t cols = tensor.cols();
  const int64_t groups = cols / format.scale_width(cols);
  parallel_for(threads, tensor.rows(), kGrain, [&](int64_t begin, int64_t end, int) {
    std::vector<int8_t> trits(static_cast<size_t>(cols));
    std::vector<float> scales(static_cast<size_t>(groups));
    for (int64_t row = begin; row < end && ternary; ++row) {
      if (!unpack_rows(tensor, format, row, 1, trits.data(), scales.data())) {
        ternary = false;
      }
    }
  });
  return ternary;
}

int32_t packed_scale_columns(const MatrixSource& source, int threads) {
  const WeightFormat& format = *source.format;
  if (!format.ternary || format.cols_per_scale == 0) {
    return 0;
  }
  const Tensor& tensor = *source.tensor;
  const auto rows = static_cast<int32_t>(tensor.rows());
  const auto cols = static_cast<int32_t>(tensor.cols());
  const int64_t width = format.scale_width(cols);
  const int64_t groups = cols / width;
  std::vector<float> scales(static_cast<size_t>(rows * groups));
  parallel_for(threads, rows, kGrain, [&](int64_t begin, int64_t end, int) {
    std::vector<int8_t> trits(static_cast<size_t>(kGrain * cols));
    for (int64_t row = begin; row < end; row += kGrain) {
      // Codes that stand for nothing are found when the rows are converted.
      unpack_rows(tensor, format, row, std::min(kGrain, end - row), trits.data(),
                  &scales[static_cast<size_t>(row * groups)]);
    }
  });
  const ScaleGrid grid =
      simplify_scales(std::move(scales), rows, cols, static_cast<int32_t>(width));
  return grid.rows_per_scale == rows && grid.cols_per_scale == cols ? 0
         : grid.cols_per_scale == cols                              ? WeightFormat::kWholeRow
                                                                    : grid.cols_per_scale;
}

void MatrixConversion::Findings::add_scale(float value, double weights) {
  if (weights == 0 && any_scale) {
    return;  // a scale of nothing but zeros, which any other can replace
  }
  // The first scale counts until one comes that has weights.
  if (!any_scale || (count == 0 && weights > 0)) {
    scale = value;
  } else if (value != scale && weights > 0) {
    losses |= kSeveralScales;
  }
  any_scale = true;
  sum += static_cast<double>(value) * weights;
  count += weights;
}

void MatrixConversion::Findings::merge(const Findings& other) {
  losses |= other.losses;
  bad_code |= other.bad_code;
  not_finite |= other.not_finite;
  if (other.any_scale) {
    const double own_sum = sum;
    add_scale(other.scale, other.count);
    sum = own_sum + other.sum;  // the other's mean, which is its scale only if it met one
  }
}

MatrixConversion::MatrixConversion(const MatrixSource& source, const WeightFormat& to, int threads)
    : source_(source), to_(to), rows_(source.tensor->rows()), cols_(source.tensor->cols()) {
  row_step_ = to.rows_are_blocks ? to.row_group
                                 : to.block_weights / std::gcd(int64_t{to.block_weights}, cols_);
  if (to.packed()) {
    row_step_ = to.tiles.rows;
    const int64_t groups = cols_ / to.scale_width(cols_);
    scales_.resize(to.cols_per_scale == 0 ? 1 : static_cast<size_t>(rows_ * groups));
  }
  if (source.format->ternary || !to.ternary || to.cols_per_scale != 0) {
    return;
  }
  std::vector<double> sums(static_cast<size_t>(rows_));
  parallel_for(threads, rows_, kGrain, [&](int64_t begin, int64_t end, int) {
    std::vector<float> floats(static_cast<size_t>(cols_));
    Findings ignored;
    for (int64_t row = begin; row < end; ++row) {
      read_floats(row, 1, floats, ignored);
      for (const float value : floats) {
        sums[static_cast<size_t>(row)] += static_cast<double>(std::fabs(value));
      }
    }
  });
  const double sum = std::accumulate(sums.begin(), sums.end(), 0.0);
  whole_mean_ = std::max(static_cast<float>(sum / static_cast<double>(rows_ * cols_)), kLeastMean);
}

uint64_t MatrixConversion::bytes_of_rows(int64_t count) const {
  if (to_.bytes != nullptr) {
    return to_.bytes(count, cols_);
  }
  const auto blocks = static_cast<uint64_t>(count * cols_ / to_.block_weights);
  return blocks * static_cast<uint64_t>(to_.block_bytes) +
         static_cast<uint64_t>(count) * static_cast<uint64_t>(to_.row_bytes);
}

// The trits and scales of ternary rows. False: a code stands for nothing.
bool MatrixConversion::read_grid(int64_t begin, int64_t count, Grid& grid, Findings& found) const {
  const WeightFormat& format = *source_.format;
  grid.width = format.scale_width(cols_);
  const int64_t groups = cols_ / grid.width;
  grid.trits.resize(static_cast<size_t>(count * cols_));
  grid.scales.resize(static_cast<size_t>(count * groups));
  // Rows that lie one after another are unpacked at once.
  const int64_t at_once = source_.moves_rows() ? 1 : count;
  for (int64_t i = 0; i < count; i += at_once) {
    float* scales = grid.scales.data() + i * groups;
    float tensor_scale = source_.mean;
    const bool one = format.cols_per_scale == 0;
    if (!unpack_rows(*source_.tensor, format, source_.row(begin + i), at_once,
                     grid.trits.data() + i * cols_, one ? &tensor_scale : scales)) {
      found.bad_code = true;
      return false;
    }
    if (one) {
      std::fill_n(scales, at_once, tensor_scale);
    }
  }
  if (source_.value_cols.keys != 0) {
    move_columns(count, grid);
  }
  for (float& scale : grid.scales) {
    const float product = scale * source_.scale;
    // In double the product of two floats is exact.
    if (static_cast<double>(product) !=
        static_cast<double>(scale) * static_cast<double>(source_.scale)) {
      found.losses |= kRoundedScale;
    }
    found.not_finite |= !std::isfinite(product);
    scale = product;
  }
  return true;
}

// Heads of columns in the target's order. Scales of groups that hold several heads are repeated, one a head.
void MatrixConversion::move_columns(int64_t count, Grid& grid) const {
  const ValueHeads& heads = source_.value_cols;
  const int64_t width = grid.width == cols_ ? cols_ : std::gcd(grid.width, heads.size);
  Grid moved{std::vector<int8_t>(grid.trits.size()), {}, width};
  for (int64_t row = 0; row < count; ++row) {
    for (int64_t col = 0; col < cols_; ++col) {
      const int64_t from = heads.source(col);
      if (col % width == 0) {
        const int64_t group = row * (cols_ / grid.width) + from / grid.width;
        moved.scales.push_back(grid.scales[static_cast<size_t>(group)]);
      }
      moved.trits[static_cast<size_t>(row * cols_ + col)] =
          grid.trits[static_cast<size_t>(row * cols_ + from)];
    }
  }
  grid = std::move(moved);
}

void MatrixConversion::read_floats(int64_t begin, int64_t count, std::span<float> out,
                                   Findings& found) const {
  if (!source_.format->ternary) {
    Tensor tensor = *source_.tensor;
    tensor.format = source_.format;
    const DenseMatrix matrix = *dense_matrix(tensor);
    for (int64_t i = 0; i < count; ++i) {
      float* row = out.data() + i * cols_;
      best_table().dense_row(matrix, static_cast<int32_t>(source_.row(begin + i)), row);
      if (source_.value_cols.keys != 0) {
        const std::vector<float> values(row, row + cols_);
        for (int64_t col = 0; col < cols_; ++col) {
          row[col] = values[static_cast<size_t>(source_.value_cols.source(col))];
        }
      }
    }
    for (float& value : out) {
      const float product = value * source_.scale;
      if (static_cast<double>(product) !=
          static_cast<double>(value) * static_cast<double>(source_.scale)) {
        found.losses |= kRoundedWeight;
      }
      value = product;
    }
    return;
  }
  Grid grid;
  if (!read_grid(begin, count, grid, found)) {
    return;
  }
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(grid.trits[i]) * grid.scales[i / static_cast<size_t>(grid.width)];
  }
}

// As BitNet's layers do: t = clamp(half_even(w / s), -1, 1), s the mean magnitude of what shares a scale.
void MatrixConversion::round_floats(std::span<const float> floats, Grid& grid,
                                    Findings& found) const {
  found.losses |= kFloats;
  grid.width = width_in(to_, cols_);
  const auto width = static_cast<size_t>(grid.width);
  grid.trits.resize(floats.size());
  grid.scales.resize(floats.size() / width);
  for (size_t group = 0; group < grid.scales.size(); ++group) {
    const std::span<const float> values = floats.subspan(group * width, width);
    float scale = whole_mean_;
    if (to_.cols_per_scale != 0) {
      double sum = 0;
      for (const float value : values) {
        sum += static_cast<double>(std::fabs(value));
      }
      scale = std::max(static_cast<float>(sum / static_cast<double>(width)), kLeastMean);
    }
    grid.scales[group] = scale;
    for (size_t i = 0; i < width; ++i) {
      const float level = to_.has_zeros ? std::nearbyint(values[i] / scale) : values[i];
      const int sign = level > 0 || (!to_.has_zeros && level == 0) ? 1 : level < 0 ? -1 : 0;
      grid.trits[group * width + i] = static_cast<int8_t>(sign);
    }
  }
}

// Scales of the source's groups as those of the target's, which may be wider or narrower.
void MatrixConversion::regroup(int64_t count, Grid& grid, Findings& found) const {
  const int64_t from = grid.width;
  const int64_t to = width_in(to_, cols_);
  if (from == to) {
    return;
  }
  std::vector<float> scales;
  scales.reserve(static_cast<size_t>(count * (cols_ / to)));
  for (int64_t row = 0; row < count; ++row) {
    const float* row_scales = grid.scales.data() + row * (cols_ / from);
    const int8_t* trits = grid.trits.data() + row * cols_;
    for (int64_t begin = 0; begin < cols_; begin += to) {
      Findings group;
      for (int64_t col = begin; col < begin + to;) {
        const int64_t end = std::min((col / from + 1) * from, begin + to);
        const auto weights = static_cast<double>(nonzeros(trits + col, end - col));
        group.add_scale(row_scales[col / from], weights);
        col = end;
      }
      found.losses |= group.losses;
      const bool mixed = (group.losses & kSeveralScales) != 0;
      scales.push_back(mixed ? static_cast<float>(group.sum / group.count) : group.scale);
    }
  }
  grid.scales = std::move(scales);
  grid.width = to;
}

// For a target without zeros: the nearest that it can say has the mean magnitude of each group.
void MatrixConversion::keep_signs(int64_t count, Grid& grid, Findings& found) const {
  for (int64_t group = 0; group < count * (cols_ / grid.width); ++group) {
    int8_t* trits = grid.trits.data() + group * grid.width;
    const int64_t some = nonzeros(trits, grid.width);
    if (some == grid.width) {
      continue;
    }
    found.losses |= kZeros;
    grid.scales[static_cast<size_t>(group)] *=
        static_cast<float>(some) / static_cast<float>(grid.width);
    std::replace(trits, trits + grid.width, int8_t{0}, int8_t{1});
  }
}

void MatrixConversion::pack(int64_t begin, int64_t count, Grid& grid, Findings& found,
                            std::byte* out) {
  regroup(count, grid, found);
  if (!to_.has_zeros) {
    keep_signs(count, grid, found);
  }
  for (size_t group = 0; group < grid.scales.size(); ++group) {
    float& scale = grid.scales[group];
    const int8_t* trits = grid.trits.data() + static_cast<int64_t>(group) * grid.width;
    if (to_.half_scales && half_to_float(float_to_half(scale)) != scale) {
      scale = half_to_float(float_to_half(scale));
      // A scale of nothing but zeros may be anything.
      found.losses |= nonzeros(trits, grid.width) > 0 ? kRoundedScale : 0U;
      found.not_finite |= !std::isfinite(scale);
    }
    if (to_.cols_per_scale == 0) {
      found.add_scale(scale, static_cast<double>(nonzeros(trits, grid.width)));
    }
  }
  if (!to_.packed()) {
    to_.pack(grid.trits.data(), grid.scales.data(), count, cols_, out);
    return;
  }
  if (to_.cols_per_scale != 0) {
    std::ranges::copy(grid.scales, scales_.begin() + begin * (cols_ / grid.width));
  }
  const PackedLayout layout = *stored_layout(to_);
  auto* panel = reinterpret_cast<uint8_t*>(out);
  const auto cols = static_cast<int32_t>(cols_);
  for (int64_t row = 0; row < count; row += layout.tile_rows) {
    const auto some = static_cast<int32_t>(std::min<int64_t>(layout.tile_rows, count - row));
    pack_panel(layout, grid.trits.data() + row * cols_, some, cols, panel);
    panel += panel_bytes(layout, cols_);
  }
}

void MatrixConversion::encode(std::span<const float> floats, Findings& found,
                              std::byte* out) const {
  const bool f16 = to_.name == "F16";
  const bool bf16 = to_.name == "BF16";
  for (const float value : floats) {
    found.not_finite |= !std::isfinite(value);
    uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    const bool kept = f16    ? half_to_float(float_to_half(value)) == value
                      : bf16 ? (bits & 0xFFFFU) == 0
                             : to_.name == "F32";
    found.losses |= kept ? 0U : kRoundedWeight;
  }
  if (!found.not_finite) {
    to_.encode(floats, 0, out);
  }
}

void MatrixConversion::rows(int64_t begin, int64_t count, std::byte* out) {
  Findings found;
  Grid grid;
  if (to_.ternary && source_.format->ternary) {
    if (read_grid(begin, count, grid, found) && !found.not_finite) {
      pack(begin, count, grid, found, out);
    }
  } else {
    std::vector<float> floats(static_cast<size_t>(count * cols_));
    read_floats(begin, count, floats, found);
    if (!to_.ternary) {
      encode(floats, found, out);
    } else if (std::all_of(floats.begin(), floats.end(),
                           [](float f) { return std::isfinite(f); })) {
      round_floats(floats, grid, found);
      pack(begin, count, grid, found, out);
    } else {
      found.not_finite = true;
    }
  }
  const std::lock_guard lock(mutex_);
  found_.merge(found);
}

Result<std::string> MatrixConversion::loss() const {
  if (found_.bad_code) {
    return Error{
        "expected ternary codes, found one that stands for no weight; the file is damaged or was "
        "written in another "
        "layout of " +
        std::string(source_.format->name) + "."};
  }
  if (found_.not_finite) {
    return Error{"expected weights that are numbers " +
                 std::string(to_.half_scales ? "within the range of halves" : "of ordinary size") +
                 ", found others."};
  }
  const std::string to(to_.name);
  const int64_t width = to_.cols_per_scale;
  const unsigned losses = found_.losses;
  if ((losses & kFloats) != 0) {
    return std::string("its weights are floats that are not exactly ternary, and would be rounded");
  }
  if ((losses & kZeros) != 0) {
    return std::string("it has zeros, which " + to + " has no code for");
  }
  if ((losses & kSeveralScales) != 0) {
    return "it has several scales where " + to + " holds one for each " +
           (width == 0  ? "tensor"
            : width < 0 ? "row"
                        : std::to_string(width) + " weights");
  }
  if ((losses & kRoundedScale) != 0) {
    return std::string("it has a scale that " + to + " cannot hold to the last bit");
  }
  if ((losses & kRoundedWeight) != 0) {
    return std::string("it has weights that " + to + " cannot hold to the last bit");
  }
  return std::string();
}

float MatrixConversion::tensor_scale() const {
  const bool mixed = (found_.losses & kSeveralScales) != 0 && found_.count > 0;
  return mixed ? static_cast<float>(found_.sum / found_.count) : found_.scale;
}

}  // namespace tern::cli
