#include "engine/io/compressed_layers.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>

#include "engine/io/formats.h"
#include "engine/io/gptq.h"
#include "engine/io/hugging_face.h"

namespace tern {
namespace {

constexpr std::string_view kMethods[] = {"dbf",  "mixed_dbf",  "mdbf",   "onebit",
                                         "gptq", "mixed_gptq", "autobit"};
constexpr std::string_view kParts[] = {"scaling0", "bp1",   "scaling2",    "bp3",     "scaling4",
                                       "a",        "b",     "sign_packed", "qweight", "qzeros",
                                       "scales",   "g_idx", "perm"};
// Of OneBit's own checkpoints. Their signs are called "weight" and are I8.
constexpr std::string_view kOneBitParts[] = {"weight_scale", "input_factor"};
// Of LittleBit and NanoQuant: names that no other model has.
constexpr std::string_view kFactorParts[] = {
    "U_packed", "U_shape",    "V_packed",  "V_shape",    "u1",        "u2",   "v1",
    "v2",       "U_R_packed", "U_R_shape", "V_R_packed", "V_R_shape", "u1_R", "u2_R",
    "v1_R",     "v2_R",       "scale_pre", "scale_mid",  "scale_post"};
// What LittleBit writes down of how it chose its shapes.
constexpr std::string_view kRemarks[] = {"_eff_bit_target", "_eff_bit_actual", "_split_dim_final"};
constexpr std::string_view kPathParts[] = {"A_sign_packed", "B_sign_packed", "_A_sign_shape",
                                           "_B_sign_shape", "A_amp",         "B_amp",
                                           "Q_U_amp",       "Q_V_amp"};
constexpr std::string_view kPaths = ".paths.";
constexpr int64_t kMostMiddle = int64_t{1} << 24;  // far above every real rank
constexpr float kOneBitNormEps = 1e-5F;            // torch's of LayerNorm

template <size_t N>
bool is_one_of(const std::string_view (&names)[N], std::string_view name) {
  return std::ranges::find(names, name) != std::end(names);
}

// Vectors of scales, envelope by envelope.
struct Envelopes {
  int64_t count = 0;  // of envelopes
  int64_t size = 0;
  std::vector<float> values;
};

std::string shape_of(const safetensors::Entry& entry) {
  std::string text;
  for (const int64_t size : entry.shape) {
    text += (text.empty() ? "" : " x ") + std::to_string(size);
  }
  return text.empty() ? "one number" : text;
}

Error wrong(const safetensors::Entry& entry, const std::string& expected,
            const std::string& found) {
  return Error{"tensor " + printable(entry.name) + ": expected " + expected + ", found " + found +
               "; the file is damaged or was not written by OneCompression."};
}

// A vector (which may have a first dimension of 1), or a matrix whose columns are the envelopes.
Result<Envelopes> envelopes_of(const safetensors::Entry& entry, size_t dimensions) {
  const bool is_row = dimensions == 1 && entry.shape.size() == 2 && entry.shape[0] == 1;
  if ((entry.shape.size() != dimensions && !is_row) || entry.count < 1 ||
      entry.count > std::numeric_limits<int32_t>::max()) {
    return wrong(entry, std::to_string(dimensions) + " dimensions of scales", shape_of(entry));
  }
  Result<std::vector<float>> stored = safetensors::numbers(entry);
  if (!stored) {
    return stored.error().in("tensor " + printable(entry.name));
  }
  if (!std::ranges::all_of(*stored, [](float value) { return std::isfinite(value); })) {
    return wrong(entry, "finite scales", "one that is not");
  }
  Envelopes out{
      dimensions == 2 ? entry.shape[1] : 1, dimensions == 2 ? entry.shape[0] : entry.count, {}};
  out.values.resize(stored->size());
  for (int64_t i = 0; i < out.size; ++i) {
    for (int64_t k = 0; k < out.count; ++k) {
      out.values[static_cast<size_t>(k * out.size + i)] =
          (*stored)[static_cast<size_t>(i * out.count + k)];
    }
  }
  return out;
}

Envelopes ones(int64_t size) {
  return {1, size, std::vector<float>(static_cast<size_t>(size), 1.0F)};
}

}  // namespace

bool is_onecomp_method(std::string_view method) {
  return is_one_of(kMethods, method);
}

// One layer on its way to becoming tensors.
struct CompressedLayers::Layer {
  const std::string& name;
  const Parts& parts;
  std::string stem;
  HuggingFaceReader& out;
  bool zeros_less_one = true;
  int64_t bits = 0;  // signs and scales, as stored

  bool has(std::string_view part) const { return parts.contains(part); }

  Result<const Part*> part(const std::string& which) const {
    const auto found = parts.find(which);
    if (found == parts.end()) {
      return Error{"tensor " + printable(name + "." + which) +
                   ": expected it beside the other parts of a matrix, found no such tensor."};
    }
    return &found->second;
  }

  Result<Envelopes> scales(const std::string& which, size_t dimensions) {
    ASSIGN_OR_RETURN(const Part* found, part(which));
    bits += static_cast<int64_t>(found->entry.data.size()) * 8;
    return envelopes_of(found->entry, dimensions);
  }

  // That a matrix of envelopes has the shape that its neighbours give it.
  Result<void> require(const std::string& which, const Envelopes& found, int64_t size,
                       int64_t count) const {
    if (found.size != size || found.count != count) {
      ASSIGN_OR_RETURN(const Part* part_of, part(which));
      return wrong(part_of->entry, std::to_string(size) + " x " + std::to_string(count),
                   shape_of(part_of->entry));
    }
    return {};
  }

  // How the signs of a matrix lie.
  struct Packing {
    const WeightFormat* format;
    std::string_view dtype;
    int64_t unit;  // signs in a number
    bool rows;     // that rows begin with a number of their own
  };
  static constexpr Packing kStream = {&formats::kSigns, "U8", 8, false};
  static constexpr Packing kBytes = {&formats::kSignRows, "I8", 8, true};
  static constexpr Packing kWords = {&formats::kSignRows, "I32", 32, true};

  // Adds a stage: signs, as many as its scales ask for.
  Result<void> add(const std::string& at, const std::string& which, const Packing& packing,
                   const Envelopes& in, const Envelopes& result) {
    ASSIGN_OR_RETURN(const Part* signs, part(which));
    const safetensors::Entry& entry = signs->entry;
    // Both are at most 2^31, by envelopes_of().
    const auto units = [&](int64_t count) { return (count + packing.unit - 1) / packing.unit; };
    const int64_t numbers =
        packing.rows ? units(in.size) * result.size : units(in.size * result.size);
    if (entry.dtype != packing.dtype || entry.count != numbers) {
      return wrong(entry,
                   std::to_string(numbers) + " " + std::string(packing.dtype) + ", for " +
                       std::to_string(result.size) + " x " + std::to_string(in.size) + " signs",
                   std::to_string(entry.count) + " " + entry.dtype);
    }
    bits += static_cast<int64_t>(entry.data.size()) * 8;
    const std::string base = stem + at;
    out.add_tensor(
        {base + ".signs", packing.format, {in.size, result.size}, entry.data, signs->file});
    out.add_floats(base + ".in", in.values, {in.size, in.count});
    out.add_floats(base + ".out", result.values, {result.size, result.count});
    return {};
  }

  Result<int64_t> dbf() {
    ASSIGN_OR_RETURN(const Envelopes in, scales("scaling0", 1));
    ASSIGN_OR_RETURN(const Envelopes middle, scales("scaling2", 1));
    ASSIGN_OR_RETURN(const Envelopes result, scales("scaling4", 1));
    RETURN_IF_ERROR(add(".path0.stage0", "bp1", kStream, in, middle));
    RETURN_IF_ERROR(add(".path0.stage1", "bp3", kStream, ones(middle.size), result));
    return in.size * result.size;
  }

  Result<int64_t> onebit() {
    ASSIGN_OR_RETURN(const Envelopes in, scales("b", 1));
    ASSIGN_OR_RETURN(const Envelopes result, scales("a", 1));
    RETURN_IF_ERROR(add(".path0.stage0", "sign_packed", kStream, in, result));
    return in.size * result.size;
  }

  // OneBit as its authors save it: y = LayerNorm(scale * (S (factor * x))).
  Result<int64_t> original_onebit() {
    ASSIGN_OR_RETURN(const Envelopes in, scales("input_factor", 1));
    ASSIGN_OR_RETURN(const Envelopes result, scales("weight_scale", 1));
    RETURN_IF_ERROR(add(".path0.stage0", "weight", kBytes, in, result));
    out.add_floats(stem + ".layer_norm", {kOneBitNormEps});
    return in.size * result.size;
  }

  // Signs U of rows x rank and V of rank x columns, whose shapes are said as well.
  Result<void> add_two(const std::string& at, const std::string& suffix, const Envelopes& in,
                       const Envelopes& middle, const Envelopes& result) {
    RETURN_IF_ERROR(require_shape("V" + suffix + "_shape", middle.size, in.size));
    RETURN_IF_ERROR(require_shape("U" + suffix + "_shape", result.size, middle.size));
    RETURN_IF_ERROR(add(at + ".stage0", "V" + suffix + "_packed", kWords, in, middle));
    return add(at + ".stage1", "U" + suffix + "_packed", kWords, ones(middle.size), result);
  }

  Result<int64_t> nanoquant() {
    ASSIGN_OR_RETURN(const Envelopes in, scales("scale_pre", 1));
    ASSIGN_OR_RETURN(const Envelopes result, scales("scale_post", 1));
    Envelopes middle;
    if (has("scale_mid")) {
      ASSIGN_OR_RETURN(middle, scales("scale_mid", 1));
    } else {
      ASSIGN_OR_RETURN(const Part* signs, part("V_packed"));
      const std::vector<int64_t>& shape = signs->entry.shape;
      middle = ones(shape.empty() ? 1 : std::clamp<int64_t>(shape[0], 1, kMostMiddle));
    }
    RETURN_IF_ERROR(add_two(".path0", "", in, middle, result));
    return in.size * result.size;
  }

  // LittleBit's matrix, or (with suffix "_R") what it left of the original, factored again.
  Result<int64_t> littlebit(const std::string& at, const std::string& suffix) {
    ASSIGN_OR_RETURN(const Envelopes in, scales("v2" + suffix, 1));
    ASSIGN_OR_RETURN(Envelopes middle, scales("v1" + suffix, 1));
    ASSIGN_OR_RETURN(const Envelopes more, scales("u2" + suffix, 1));
    ASSIGN_OR_RETURN(const Envelopes result, scales("u1" + suffix, 1));
    RETURN_IF_ERROR(require("u2" + suffix, more, middle.size, 1));
    std::ranges::transform(middle.values, more.values, middle.values.begin(), std::multiplies());
    RETURN_IF_ERROR(add_two(at, suffix, in, middle, result));
    return in.size * result.size;
  }

  // The shape that a path says its signs have is that of the scales around them.
  Result<void> require_shape(const std::string& which, int64_t rows, int64_t cols) const {
    ASSIGN_OR_RETURN(const Part* found, part(which));
    const safetensors::Entry& entry = found->entry;
    std::array<int64_t, 2> shape = {};
    if (entry.dtype != "I64" || entry.count != 2) {
      return wrong(entry, "2 I64", std::to_string(entry.count) + " " + entry.dtype);
    }
    std::memcpy(shape.data(), entry.data.data(), sizeof shape);
    if (shape[0] != rows || shape[1] != cols) {
      return wrong(entry,
                   std::to_string(rows) + " x " + std::to_string(cols) + ", as the scales have it",
                   std::to_string(shape[0]) + " x " + std::to_string(shape[1]));
    }
    return {};
  }

  Result<int64_t> path(int number) {
    const std::string prefix = "paths." + std::to_string(number) + ".";
    const std::string at = ".path" + std::to_string(number);
    ASSIGN_OR_RETURN(const Envelopes a, scales(prefix + "A_amp", 2));
    ASSIGN_OR_RETURN(const Envelopes b, scales(prefix + "B_amp", 2));
    ASSIGN_OR_RETURN(const Envelopes u, scales(prefix + "Q_U_amp", 2));
    ASSIGN_OR_RETURN(const Envelopes v, scales(prefix + "Q_V_amp", 2));
    RETURN_IF_ERROR(require(prefix + "B_amp", b, b.size, a.count));
    RETURN_IF_ERROR(require(prefix + "Q_U_amp", u, u.size, a.count));
    RETURN_IF_ERROR(require(prefix + "Q_V_amp", v, u.size, a.count));
    RETURN_IF_ERROR(require_shape(prefix + "_A_sign_shape", a.size, u.size));
    RETURN_IF_ERROR(require_shape(prefix + "_B_sign_shape", u.size, b.size));
    RETURN_IF_ERROR(add(at + ".stage0", prefix + "B_sign_packed", kStream, b, v));
    RETURN_IF_ERROR(add(at + ".stage1", prefix + "A_sign_packed", kStream, u, a));
    return a.size * b.size;
  }

  Result<int64_t> gptq() {
    gptq::Parts found;
    found.zeros_less_one = zeros_less_one;
    for (const auto& [which, place] : {std::pair("qweight", &found.qweight),
                                       {"qzeros", &found.qzeros},
                                       {"scales", &found.scales},
                                       {"g_idx", &found.g_idx}}) {
      ASSIGN_OR_RETURN(const Part* each, part(which));
      *place = &each->entry;
    }
    ASSIGN_OR_RETURN(gptq::Matrix matrix, gptq::dequantise(found));
    for (const safetensors::Entry* stored : {found.qweight, found.qzeros, found.scales}) {
      bits += static_cast<int64_t>(stored->data.size()) * 8;
    }
    out.add_halves({stem + ".weight", &formats::kF16, {matrix.cols, matrix.rows}, {}, 0},
                   std::move(matrix.halves));
    return matrix.rows * matrix.cols;
  }

  // Weights of the matrix that the parts stand for.
  Result<int64_t> add_all() {
    size_t used = 5;
    Result<int64_t> weights = int64_t{0};
    if (has("scaling0") || has("bp1")) {
      weights = dbf();
    } else if (has("sign_packed")) {
      used = 3;
      weights = onebit();
    } else if (has("input_factor")) {
      used = 3;
      weights = original_onebit();
    } else if (has("scale_pre")) {
      used = has("scale_mid") ? 7 : 6;
      weights = nanoquant();
    } else if (has("V_packed")) {
      used = 8;
      weights = littlebit(".path0", "");
      if (weights && has("V_R_packed")) {
        used = 16;
        weights = littlebit(".path1", "_R");
      }
    } else if (has("qweight")) {
      // "perm", which older versions wrote, says once more what g_idx says.
      used = has("perm") ? 5 : 4;
      weights = gptq();
    } else {
      int count = 0;
      do {
        weights = path(count++);
      } while (weights && has("paths." + std::to_string(count) + ".A_amp"));
      used = static_cast<size_t>(count) * std::size(kPathParts);
    }
    if (weights && used != parts.size()) {
      return Error{"tensor " + printable(name) + "." + parts.rbegin()->first + ": expected " +
                   std::to_string(used) + " parts of the matrix, found " +
                   std::to_string(parts.size()) + "."};
    }
    return weights;
  }
};

bool CompressedLayers::take(const safetensors::Entry& entry, std::string_view name, int file) {
  if (!name.starts_with("model.layers.")) {
    return false;
  }
  const size_t dot = name.rfind('.');
  const std::string_view leaf = name.substr(dot + 1);
  size_t layer_end = dot;
  const bool of_onebit = is_one_of(kOneBitParts, leaf) || (leaf == "weight" && entry.dtype == "I8");
  if (is_one_of(kRemarks, leaf)) {
    return true;
  }
  if (all_names_ && is_one_of(kPathParts, leaf)) {
    layer_end = name.find(kPaths);
  } else if (!is_one_of(kFactorParts, leaf) &&
             !(all_names_ && (is_one_of(kParts, leaf) || of_onebit))) {
    return false;
  }
  if (layer_end == std::string_view::npos) {
    return false;
  }
  Parts& parts = layers_[std::string(name.substr(0, layer_end))];
  return parts.emplace(std::string(name.substr(layer_end + 1)), Part{entry, file}).second;
}

Result<void> CompressedLayers::finish(HuggingFaceReader& out) const {
  int64_t bits = 0;
  int64_t weights = 0;
  int64_t factored = 0;
  for (const auto& [name, parts] : layers_) {
    Layer layer{name, parts, gguf_stem(name), out, zeros_less_one_};
    ASSIGN_OR_RETURN(const int64_t count, layer.add_all());
    bits += layer.bits;
    weights += count;
    factored += layer.has("qweight") ? 0 : 1;
  }
  if (weights == 0 && !all_names_) {
    return {};
  }
  if (weights == 0) {
    return Error{"config.json: key quant_method: expected compressed matrices, found none."};
  }
  std::array<char, 160> text{};
  std::snprintf(text.data(), text.size(),
                "%zu compressed matrices take %.3f bits a weight in the file, scales included; %s",
                layers_.size(), static_cast<double>(bits) / static_cast<double>(weights),
                factored == 0 ? "in memory they are F16" : "they run as factors");
  out.add_notice(text.data());
  return {};
}

}  // namespace tern
