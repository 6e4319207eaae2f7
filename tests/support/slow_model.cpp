#include "tests/support/slow_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>

#include "kernels/reference.h"

namespace tern::testing {
namespace {

using Vector = std::vector<double>;

struct Matrix {
  int64_t rows = 0;
  int64_t cols = 0;
  bool ternary = false;  // then its inputs are rounded to int8
  Vector weights;        // rows x cols

  double at(int64_t row, int64_t col) const {
    return weights[static_cast<size_t>(row * cols + col)];
  }
};

DenseType dense_type(const std::string_view name) {
  const auto* const found = std::find(std::begin(kDenseTypeNames), std::end(kDenseTypeNames), name);
  return static_cast<DenseType>(found - kDenseTypeNames);
}

Vector ternary_weights(const Tensor& tensor) {
  const WeightFormat& format = *tensor.format;
  const int64_t cols_per_scale =
      format.cols_per_scale == 0 ? tensor.count() : format.scale_width(tensor.cols());
  std::vector<int8_t> trits(static_cast<size_t>(tensor.count()));
  std::vector<float> scales(static_cast<size_t>(tensor.count() / cols_per_scale));
  if (!unpack_rows(tensor, format, 0, tensor.rows(), trits.data(), scales.data())) {
    throw std::runtime_error(tensor.name + ": a code that stands for no trit");
  }
  Vector weights(trits.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    weights[i] = double{scales[i / static_cast<size_t>(cols_per_scale)]} * trits[i];
  }
  return weights;
}

Vector dense_weights(const Tensor& tensor) {
  const DenseMatrix view{reinterpret_cast<const uint8_t*>(tensor.data.data()),
                         static_cast<int32_t>(tensor.rows()), static_cast<int32_t>(tensor.cols()),
                         dense_type(tensor.format->name)};
  Vector weights;
  for (int32_t row = 0; row < view.rows; ++row) {
    for (int32_t col = 0; col < view.cols; ++col) {
      weights.push_back(reference::dense_weight(view, row, col));
    }
  }
  return weights;
}

// x to int8 and back: q = half_even(x * 127 / max|x|), in -128..127.
Vector as_int8(const Vector& x) {
  double max = 1e-5;
  for (const double v : x) {
    max = std::max(max, std::fabs(v));
  }
  Vector rounded;
  for (const double v : x) {
    rounded.push_back(std::clamp(std::nearbyint(v * 127 / max), -128.0, 127.0) * max / 127);
  }
  return rounded;
}

Vector multiply(const Matrix& w, const Vector& x) {
  const Vector input = w.ternary ? as_int8(x) : x;
  Vector y(static_cast<size_t>(w.rows));
  for (int64_t r = 0; r < w.rows; ++r) {
    for (int64_t c = 0; c < w.cols; ++c) {
      y[static_cast<size_t>(r)] += w.at(r, c) * input[static_cast<size_t>(c)];
    }
  }
  return y;
}

double as_half(double x) {
  return reference::half_value(reference::nearest_half(static_cast<float>(x)));
}

class SlowModel {
 public:
  SlowModel(const TensorFile& file, SlowCache cache) : file_(file), cache_(cache) {
    arch_ = std::string(*file.get_string("general.architecture").value());
    layers_ = integer("block_count");
    heads_ = integer("attention.head_count");
    kv_heads_ = integer("attention.head_count_kv");
    head_dim_ = integer("attention.key_length", integer("embedding_length") / heads_);
    eps_ = number("attention.layer_norm_rms_epsilon");
    embedding_ = matrix("token_embd.weight");
    head_ = matrix(file.find("output.weight") != nullptr ? "output.weight" : "token_embd.weight");
    set_frequencies();
  }

  std::vector<double> logits(std::span<const int32_t> tokens) {
    std::vector<Vector> x;
    for (const int32_t token : tokens) {
      const auto row = embedding_.weights.begin() + token * embedding_.cols;
      x.emplace_back(row, row + embedding_.cols);
    }
    for (int64_t i = 0; i < layers_; ++i) {
      layer("blk." + std::to_string(i) + ".", x);
    }
    std::vector<double> all;
    for (const Vector& last : x) {
      const Vector row = multiply(head_, norm(last, "output_norm.weight"));
      all.insert(all.end(), row.begin(), row.end());
    }
    return all;
  }

 private:
  void layer(const std::string& blk, std::vector<Vector>& x) {
    const Matrix wq = matrix(blk + "attn_q.weight");
    const Matrix wk = matrix(blk + "attn_k.weight");
    const Matrix wv = matrix(blk + "attn_v.weight");
    const Matrix wo = matrix(blk + "attn_output.weight");
    const Matrix gate = matrix(blk + "ffn_gate.weight");
    const Matrix up = matrix(blk + "ffn_up.weight");
    const Matrix down = matrix(blk + "ffn_down.weight");
    std::vector<Vector> keys;
    std::vector<Vector> values;
    for (size_t t = 0; t < x.size(); ++t) {
      const Vector n = norm(x[t], blk + "attn_norm.weight");
      const Vector q = rotate(multiply(wq, n), t, blk + "attn_q_norm.weight");
      keys.push_back(rotate(multiply(wk, n), t, blk + "attn_k_norm.weight"));
      values.push_back(multiply(wv, n));
      if (cache_ == SlowCache::kHalf) {
        std::transform(keys[t].begin(), keys[t].end(), keys[t].begin(), as_half);
        std::transform(values[t].begin(), values[t].end(), values[t].begin(), as_half);
      }
      add(x[t], multiply(wo, norm(attend(q, keys, values), blk + "attn_sub_norm.weight")));

      const Vector m = norm(x[t], blk + "ffn_norm.weight");
      Vector h = multiply(gate, m);
      const Vector u = multiply(up, m);
      for (size_t i = 0; i < h.size(); ++i) {
        h[i] = activate(h[i]) * u[i];
      }
      add(x[t], multiply(down, norm(h, blk + "ffn_sub_norm.weight")));
    }
  }

  // softmax(q k / sqrt(head_dim)) v of the last position over all so far; query head h reads kv head h / (heads / kv_heads).
  Vector attend(const Vector& q, const std::vector<Vector>& keys,
                const std::vector<Vector>& values) const {
    Vector out(q.size());
    for (int64_t h = 0; h < heads_; ++h) {
      const auto from = static_cast<size_t>(h * head_dim_);
      const auto kv = static_cast<size_t>(h / (heads_ / kv_heads_) * head_dim_);
      const auto dims = static_cast<size_t>(head_dim_);
      Vector weights;
      for (const Vector& key : keys) {
        double dot = 0;
        for (size_t i = 0; i < dims; ++i) {
          dot += q[from + i] * key[kv + i];
        }
        weights.push_back(std::exp(dot / std::sqrt(static_cast<double>(head_dim_))));
      }
      double sum = 0;
      for (const double weight : weights) {
        sum += weight;
      }
      for (size_t p = 0; p < values.size(); ++p) {
        for (size_t i = 0; i < dims; ++i) {
          out[from + i] += weights[p] / sum * values[p][kv + i];
        }
      }
    }
    return out;
  }

  // Norm of every head where the model has one, then RoPE: pairs (2i, 2i + 1) in llama files, (i, i + dims / 2) elsewhere.
  Vector rotate(Vector x, size_t position, const std::string& norm_name) const {
    const bool neighbours = arch_ == "llama";
    const size_t half = frequencies_.size();
    for (size_t from = 0; from < x.size(); from += static_cast<size_t>(head_dim_)) {
      const Vector head = norm(Vector(x.begin() + static_cast<int64_t>(from),
                                      x.begin() + static_cast<int64_t>(from) + head_dim_),
                               norm_name);
      for (size_t i = 0; i < half; ++i) {
        const double angle = static_cast<double>(position) * frequencies_[i];
        const size_t a = neighbours ? 2 * i : i;
        const size_t b = neighbours ? 2 * i + 1 : i + half;
        x[from + a] = head[a] * std::cos(angle) - head[b] * std::sin(angle);
        x[from + b] = head[a] * std::sin(angle) + head[b] * std::cos(angle);
      }
    }
    return x;
  }

  double activate(double gate) const {
    if (arch_ == "bitnet-25" || arch_ == "bitnet-b1.58") {
      return gate > 0 ? gate * gate : 0;
    }
    return gate / (1 + std::exp(-gate));
  }

  // x itself where the file has no such norm.
  Vector norm(Vector x, const std::string& name) const {
    const Tensor* tensor = file_.find(name);
    if (tensor == nullptr) {
      return x;
    }
    const Vector weight = dense_weights(*tensor);
    double sum = 0;
    for (const double v : x) {
      sum += v * v;
    }
    const double scale = 1 / std::sqrt(sum / static_cast<double>(x.size()) + eps_);
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] *= scale * weight[i];
    }
    return x;
  }

  static void add(Vector& x, const Vector& y) {
    std::transform(x.begin(), x.end(), y.begin(), x.begin(), std::plus<>());
  }

  Matrix matrix(const std::string& name) const {
    const Tensor* tensor = file_.find(name);
    if (tensor == nullptr) {
      throw std::runtime_error("no tensor " + name);
    }
    Matrix m{tensor->rows(), tensor->cols(), tensor->format->ternary,
             tensor->format->ternary ? ternary_weights(*tensor) : dense_weights(*tensor)};
    const Tensor* scale = file_.find(name.substr(0, name.rfind('.')) + ".scale");
    if (scale != nullptr) {
      const double factor = dense_weights(*scale)[0];
      std::for_each(m.weights.begin(), m.weights.end(), [&](double& w) { w *= factor; });
    }
    return m;
  }

  void set_frequencies() {
    const int64_t dims = integer("rope.dimension_count", head_dim_);
    const std::optional<double> linear = file_.get_float(arch_ + ".rope.scaling.factor").value();
    const Tensor* factors = file_.find("rope_freqs.weight");
    for (int64_t i = 0; i < dims / 2; ++i) {
      const double exponent = -2 * static_cast<double>(i) / static_cast<double>(dims);
      const double divisor =
          factors != nullptr ? dense_weights(*factors)[static_cast<size_t>(i)] : linear.value_or(1);
      frequencies_.push_back(std::pow(number("rope.freq_base"), exponent) / divisor);
    }
  }

  int64_t integer(const std::string& key, int64_t fallback = 0) const {
    return file_.get_int(arch_ + "." + key).value().value_or(fallback);
  }
  double number(const std::string& key) const {
    return file_.get_float(arch_ + "." + key).value().value();
  }

  const TensorFile& file_;
  SlowCache cache_;
  std::string arch_;
  int64_t layers_ = 0;
  int64_t heads_ = 0;
  int64_t kv_heads_ = 0;
  int64_t head_dim_ = 0;
  double eps_ = 0;
  Matrix embedding_;
  Matrix head_;
  Vector frequencies_;
};

}  // namespace

std::vector<double> slow_logits(const TensorFile& file, std::span<const int32_t> tokens,
                                SlowCache cache) {
  return SlowModel(file, cache).logits(tokens);
}

}  // namespace tern::testing
