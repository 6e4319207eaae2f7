#include "engine/io/experts.h"

#include <algorithm>
#include <charconv>

namespace tern {
namespace {

constexpr std::string_view kWeight = ".weight";

}  // namespace

std::optional<ExpertName> parse_expert_name(std::string_view name) {
  constexpr std::string_view kExperts = "_exps.";
  const size_t stem = name.rfind(kExperts);
  if (stem == std::string_view::npos || !name.ends_with(kWeight)) {
    return {};
  }
  const size_t begin = stem + kExperts.size();
  const size_t end = name.size() - kWeight.size();
  ExpertName out;
  const auto [rest, error] =
      std::from_chars(name.data() + begin, name.data() + std::max(begin, end), out.index);
  if (end <= begin || error != std::errc() || rest != name.data() + end || out.index < 0) {
    return {};
  }
  out.matrix = std::string(name.substr(0, begin - 1)) + std::string(kWeight);
  return out;
}

std::string expert_name(std::string_view matrix, int64_t index) {
  const std::string_view stem = matrix.substr(0, matrix.rfind('.'));
  return std::string(stem) + "." + std::to_string(index) + std::string(kWeight);
}

std::vector<const Tensor*> separate_experts(const TensorFile& file, std::string_view matrix) {
  std::vector<const Tensor*> out;
  while (const Tensor* expert = file.find(expert_name(matrix, static_cast<int64_t>(out.size())))) {
    out.push_back(expert);
  }
  return out;
}

}  // namespace tern
