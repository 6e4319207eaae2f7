// Mixtures of experts in Hugging Face folders: their names, and their tensors.

#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include "engine/io/experts.h"
#include "engine/io/formats.h"
#include "engine/io/hugging_face.h"

namespace tern {
namespace {

using safetensors::Entry;

struct Projection {
  std::string_view theirs, ours;
};
constexpr std::array<Projection, 3> kProjections = {
    {{"gate_proj", "ffn_gate_exps"}, {"up_proj", "ffn_up_exps"}, {"down_proj", "ffn_down_exps"}}};

constexpr std::string_view kExperts = "mlp.experts.";
constexpr std::string_view kStacked = "mlp.switch_mlp.";  // as MLX calls them
constexpr std::string_view kLayers = "model.layers.";

std::string_view projection(std::string_view theirs) {
  const auto* found = std::ranges::find(kProjections, theirs, &Projection::theirs);
  return found == kProjections.end() ? std::string_view() : found->ours;
}

// "7" of "7.up_proj", if what comes before the dot is a number.
std::string_view leading_number(std::string_view text) {
  const std::string_view digits = text.substr(0, text.find_first_not_of("0123456789"));
  return digits.empty() || digits.size() > 9 || !text.substr(digits.size()).starts_with('.')
             ? std::string_view()
             : digits;
}

// What follows "model.layers.N."; empty if the name is none of a layer.
std::string_view within_layer(std::string_view name) {
  const size_t dot = name.starts_with(kLayers) ? name.find('.', kLayers.size()) : name.npos;
  return dot == name.npos ? std::string_view() : name.substr(dot + 1);
}

const WeightFormat* floats(std::string_view dtype) {
  return dtype == "F32" || dtype == "F16" || dtype == "BF16" ? find_weight_format(dtype) : nullptr;
}

}  // namespace

std::string expert_part(std::string_view part) {
  if (part.starts_with(kStacked)) {
    return std::string(projection(part.substr(kStacked.size())));
  }
  if (!part.starts_with(kExperts)) {
    return {};
  }
  part.remove_prefix(kExperts.size());
  const std::string_view number = leading_number(part);
  if (number.empty()) {
    return std::string(projection(part));
  }
  const std::string_view ours = projection(part.substr(number.size() + 1));
  return ours.empty() ? std::string() : std::string(ours) + "." + std::string(number);
}

bool is_single_expert(std::string_view name) {
  const std::string_view part = within_layer(name);
  return part.starts_with(kExperts) && !leading_number(part.substr(kExperts.size())).empty();
}

Result<bool> HuggingFaceReader::add_fused_experts(const Entry& entry, std::string_view name) {
  constexpr int64_t kMostExperts = 65536;
  const std::string_view part = within_layer(name);
  std::vector<std::string_view> matrices;
  if (part == "mlp.experts.gate_up_proj") {
    matrices = {"ffn_gate_exps.weight", "ffn_up_exps.weight"};
  } else if (part == "mlp.experts.down_proj") {
    matrices = {"ffn_down_exps.weight"};
  } else {
    return false;
  }
  const auto in_rows = static_cast<int64_t>(matrices.size());
  const WeightFormat* format = floats(entry.dtype);
  if (entry.shape.size() != 3 || entry.count == 0 || entry.shape[0] > kMostExperts ||
      entry.shape[1] % in_rows != 0 || format == nullptr) {
    return Error{"expected floats of experts x rows x columns" +
                 std::string(in_rows > 1 ? ", the rows of up behind those of gate" : "") +
                 ", found another shape or type."};
  }
  const std::string_view number =
      name.substr(kLayers.size(), name.find('.', kLayers.size()) - kLayers.size());
  const auto pieces = static_cast<size_t>(entry.shape[0] * in_rows);
  const size_t bytes = entry.data.size() / pieces;
  for (size_t i = 0; i < pieces; ++i) {
    const std::string matrix =
        "blk." + std::string(number) + "." + std::string(matrices[i % matrices.size()]);
    Tensor tensor{expert_name(matrix, static_cast<int64_t>(i / matrices.size())),
                  format,
                  {entry.shape[2], entry.shape[1] / in_rows},
                  entry.data.subspan(i * bytes, bytes),
                  static_cast<int>(out_.files_.size())};
    if (out_.index_.contains(tensor.name)) {
      return Error{"occurs twice: the files do not belong together."};
    }
    add_tensor(std::move(tensor));
  }
  return true;
}

void HuggingFaceReader::choose_expert_formats() {
  struct Found {
    const WeightFormat* floats = nullptr;
    const WeightFormat* ternary = nullptr;
  };
  std::map<std::string, Found> of_matrix;
  for (const Tensor& tensor : out_.tensors_) {
    const std::optional<ExpertName> expert = parse_expert_name(tensor.name);
    if (expert && expert->index == 0 && floats(tensor.format->name) != nullptr) {
      of_matrix[expert->matrix] = {tensor.format,
                                   formats::find_ternary_floats(tensor.format->name, tensor.data,
                                                                tensor.rows(), tensor.cols())};
    }
  }
  for (Tensor& tensor : out_.tensors_) {
    const std::optional<ExpertName> expert = parse_expert_name(tensor.name);
    const auto found = expert ? of_matrix.find(expert->matrix) : of_matrix.end();
    if (found != of_matrix.end() && found->second.ternary != nullptr &&
        found->second.floats == tensor.format) {
      tensor.format = found->second.ternary;
    }
  }
}

}  // namespace tern
