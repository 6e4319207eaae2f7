#include "engine/model/rotation.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "engine/model/config_keys.h"
#include "engine/model/hadamard_matrix.h"

namespace tern {
namespace {

constexpr std::string_view kPrefix = "prism.hadamard.";
constexpr std::string_view kEmbedding = "token_embd.weight";
constexpr std::string_view kHead = "output.weight";
constexpr int64_t kLargestBlock = 1 << 16;

std::string full(std::string_view name) {
  return std::string(kPrefix) + std::string(name);
}

Error unusable(std::string_view name, const std::string& expected, const std::string& found) {
  return Error{"key " + full(name) + ": expected " + expected + ", found " + found +
               "; the weights of this file are rotated, and run in another way it would print " +
               "nonsense."};
}

// Kinds of weights whose inputs Tern rotates: what follows "blk.N.".
bool can_be_rotated(std::string_view name) {
  constexpr std::string_view kKinds[] = {"attn_q",   "attn_k",    "attn_v",  "attn_output",
                                         "attn_qkv", "attn_gate", "ssm_out", "ffn_gate",
                                         "ffn_up",   "ffn_down"};
  if (name == kHead) {
    return true;
  }
  const size_t dot = name.starts_with("blk.") ? name.find('.', 4) : std::string_view::npos;
  return dot != std::string_view::npos && std::ranges::any_of(kKinds, [&](std::string_view kind) {
           return name.substr(dot + 1) == std::string(kind) + ".weight";
         });
}

class Reader {
 public:
  explicit Reader(const TensorFile& file) : file_(file) {}

  Result<Rotations> read() {
    RETURN_IF_ERROR(check_keys());
    if (!any_) {
      return Rotations();
    }
    ASSIGN_OR_RETURN(const std::optional<int64_t> block, file_.get_int(full("block_size")));
    if (!block || *block < 1 || *block > kLargestBlock || (*block & (*block - 1)) != 0) {
      return unusable("block_size", "a power of two up to " + std::to_string(kLargestBlock),
                      block ? std::to_string(*block) : "no such key");
    }
    out_.block = static_cast<int32_t>(*block);
    RETURN_IF_ERROR(require_text("transform", "normalized-sylvester-walsh-hadamard"));
    RETURN_IF_ERROR(require_text("axis", "input-last-dimension"));
    RETURN_IF_ERROR(read_signs());
    RETURN_IF_ERROR(read_names());
    return std::move(out_);
  }

 private:
  Result<void> check_keys() {
    constexpr std::array<std::string_view, 11> kKnown = {
        "version",     "block_size",   "transform",
        "axis",        "sign_mode",    "sign_widths",
        "sign_values", "weight_names", "inverse_weight_names",
        "tied_output", "gdn_v_grouped"};
    for (const auto& [key, value] : file_.metadata()) {
      if (key.starts_with(kPrefix)) {
        any_ = true;
        const std::string name = key.substr(kPrefix.size());
        if (std::ranges::find(kKnown, name) == kKnown.end()) {
          return unusable(name, "only keys that Tern knows", "this one");
        }
      }
    }
    if (!any_) {
      return {};
    }
    // Version 2 is version 1 with a head that is the rotated embedding.
    ASSIGN_OR_RETURN(const std::optional<int64_t> version, file_.get_int(full("version")));
    if (version != 1 && version != 2) {
      return unusable("version", "1 or 2", version ? std::to_string(*version) : "no such key");
    }
    ASSIGN_OR_RETURN(const std::optional<bool> tied, file_.get_bool(full("tied_output")));
    tied_ = tied.value_or(false);
    if (tied_ != (version == 2)) {
      return unusable("tied_output", version == 2 ? "true in version 2" : "false in version 1",
                      tied_ ? "true" : "false");
    }
    ASSIGN_OR_RETURN(const std::optional<bool> grouped, file_.get_bool(full("gdn_v_grouped")));
    out_.grouped_values = grouped.value_or(false);
    return {};
  }

  Result<void> require_text(std::string_view name, std::string_view wanted) {
    ASSIGN_OR_RETURN(const std::optional<std::string_view> found, file_.get_string(full(name)));
    if (found != wanted) {
      return unusable(name, std::string(wanted), found ? printable(*found) : "no such key");
    }
    return {};
  }

  Result<void> read_signs() {
    ASSIGN_OR_RETURN(const std::optional<std::string_view> mode,
                     file_.get_string(full("sign_mode")));
    if (mode == "identity") {
      return {};
    }
    if (mode != "explicit") {
      return unusable("sign_mode", "explicit or identity", mode ? printable(*mode) : "no such key");
    }
    ASSIGN_OR_RETURN(const std::vector<int64_t>* widths,
                     file_.get_array<int64_t>(full("sign_widths")));
    ASSIGN_OR_RETURN(const std::vector<int64_t>* values,
                     file_.get_array<int64_t>(full("sign_values")));
    if (widths == nullptr || values == nullptr) {
      return unusable(widths == nullptr ? "sign_widths" : "sign_values", "the explicit signs",
                      "no such key");
    }
    size_t at = 0;
    for (const int64_t width : *widths) {
      const size_t left = values->size() - at;
      if (width < 1 || std::cmp_greater(width, left) || out_.signs.contains(width)) {
        return unusable("sign_widths", "different widths whose signs are all there",
                        std::to_string(width));
      }
      std::vector<float>& signs = out_.signs[width];
      for (int64_t i = 0; i < width; ++i, ++at) {
        const int64_t value = (*values)[at];
        if (value != 1 && value != -1) {
          return unusable("sign_values", "1 and -1", std::to_string(value));
        }
        signs.push_back(static_cast<float>(value));
      }
    }
    if (at != values->size()) {
      return unusable("sign_values", std::to_string(at) + " signs, as sign_widths says",
                      std::to_string(values->size()));
    }
    explicit_ = true;
    return {};
  }

  // That a weight is there and can be rotated as the keys say.
  Result<void> check_weight(std::string_view key, std::string_view name) {
    const Tensor* tensor = file_.find(name);
    if (tensor == nullptr) {
      return unusable(key, "names of tensors in the file", printable(name));
    }
    if (tensor->cols() % out_.block != 0) {
      return unusable(
          "block_size",
          "a divisor of the " + std::to_string(tensor->cols()) + " columns of " + printable(name),
          std::to_string(out_.block));
    }
    if (explicit_ && !out_.signs.contains(tensor->cols())) {
      return unusable("sign_widths",
                      "the " + std::to_string(tensor->cols()) + " columns of " + printable(name),
                      "no such width");
    }
    return {};
  }

  Result<void> read_names() {
    using Names = const std::vector<std::string_view>*;
    ASSIGN_OR_RETURN(const Names names, file_.get_array<std::string_view>(full("weight_names")));
    if (names == nullptr || names->empty()) {
      return unusable("weight_names", "the weights that are rotated", "none");
    }
    for (const std::string_view name : *names) {
      if (!can_be_rotated(name)) {
        return unusable("weight_names", "weights of attention and feed-forward layers",
                        printable(name));
      }
      RETURN_IF_ERROR(check_weight("weight_names", name));
      out_.weights.emplace(name);
    }
    ASSIGN_OR_RETURN(const Names inverse,
                     file_.get_array<std::string_view>(full("inverse_weight_names")));
    for (const std::string_view name :
         inverse != nullptr ? *inverse : std::vector<std::string_view>()) {
      if (name != kEmbedding) {
        return unusable("inverse_weight_names", std::string(kEmbedding), printable(name));
      }
      RETURN_IF_ERROR(check_weight("inverse_weight_names", name));
      out_.embedding = true;
    }
    const bool has_head = file_.find(kHead) != nullptr;
    if (tied_ && (has_head || !out_.embedding)) {
      return unusable("tied_output", "a rotated token_embd.weight and no output.weight beside it",
                      has_head ? std::string(kHead) : "no inverse_weight_names");
    }
    if (!tied_ && !has_head && out_.embedding) {
      return unusable("tied_output", "true, where the rotated embedding is the head as well",
                      "false");
    }
    if (tied_) {
      out_.weights.emplace(kEmbedding);
    }
    return {};
  }

  const TensorFile& file_;
  Rotations out_;
  bool any_ = false;
  bool tied_ = false;
  bool explicit_ = false;
};

}  // namespace

Rotation Rotations::of_width(int64_t width) const {
  const auto found = signs.find(width);
  return {block,
          found != signs.end() ? std::span<const float>(found->second) : std::span<const float>(),
          matrix};
}

Rotation Rotations::of(std::string_view weight, int64_t width) const {
  return weights.contains(weight) ? of_width(width) : Rotation();
}

Rotation Rotations::of_embedding(int64_t width) const {
  return embedding ? of_width(width) : Rotation();
}

namespace {

// Of OneCompression: every down projection.
Result<Rotations> read_down_rotations(const TensorFile& file) {
  ASSIGN_OR_RETURN(const std::optional<std::string_view> architecture,
                   file.get_string("general.architecture"));
  const Keys keys(file, std::string(architecture.value_or("")));
  ASSIGN_OR_RETURN(const int32_t layers, keys.dimension("block_count"));
  ASSIGN_OR_RETURN(const int32_t width, keys.dimension("feed_forward_length"));
  auto matrix = hadamard_matrix_for(width);
  if (!matrix) {
    return matrix.error().in("key " + keys.full("feed_forward_length"));
  }
  Rotations out;
  out.block = width / matrix->order;
  out.matrix = std::move(matrix->values);
  for (int32_t i = 0; i < layers; ++i) {
    out.weights.insert("blk." + std::to_string(i) + ".ffn_down.weight");
  }
  return out;
}

}  // namespace

Result<Rotations> read_rotations(const TensorFile& file) {
  ASSIGN_OR_RETURN(const std::optional<bool> down, file.get_bool("tern.rotated_down_inputs"));
  return down.value_or(false) ? read_down_rotations(file) : Reader(file).read();
}

}  // namespace tern
