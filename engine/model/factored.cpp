#include "engine/model/factored.h"

#include <algorithm>
#include <string>
#include <string_view>

namespace tern {
namespace {

// Places of matrices that are not the first with their input.
struct Place {
  std::string_view name;
  size_t place;
};
constexpr Place kPlaceOf[] = {{".attn_k.", 1},    {".attn_v.", 2},   {".attn_gate.", 1},
                              {".ssm_alpha.", 2}, {".ssm_beta.", 3}, {".ffn_up.", 1}};

size_t place_of(std::string_view name) {
  const auto* const found = std::ranges::find_if(
      kPlaceOf, [&](const Place& each) { return name.find(each.name) != std::string_view::npos; });
  return found == std::end(kPlaceOf) ? 0 : found->place;
}

}  // namespace

FactorShape factor_shape(const TensorFile& file) {
  constexpr std::string_view kSigns = ".signs";
  FactorShape shape;
  for (const Tensor& tensor : file.tensors()) {
    if (!tensor.name.ends_with(kSigns)) {
      continue;
    }
    int32_t& widest = shape.widest[place_of(tensor.name)];
    widest = std::max(
        {widest, static_cast<int32_t>(tensor.rows()), static_cast<int32_t>(tensor.cols())});
    const std::string stem = tensor.name.substr(0, tensor.name.size() - kSigns.size());
    const Tensor* scales = file.find(stem + ".in");
    shape.envelopes =
        std::max(shape.envelopes, scales != nullptr ? static_cast<int32_t>(scales->rows()) : 1);
  }
  return shape;
}

}  // namespace tern
