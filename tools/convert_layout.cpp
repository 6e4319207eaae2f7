#include "tools/convert_layout.h"

#include <algorithm>
#include <map>
#include <optional>

#include "engine/io/experts.h"
#include "engine/io/formats.h"

namespace tern::cli {

Result<std::vector<const Tensor*>> experts_together(const TensorFile& in) {
  std::map<std::string, size_t> counts;
  for (const Tensor& tensor : in.tensors()) {
    if (const std::optional<ExpertName> expert = parse_expert_name(tensor.name)) {
      ++counts[expert->matrix];
    }
  }
  std::vector<const Tensor*> out;
  for (const Tensor& tensor : in.tensors()) {
    const std::optional<ExpertName> expert = parse_expert_name(tensor.name);
    if (!expert) {
      out.push_back(&tensor);
      continue;
    }
    const auto count = counts.find(expert->matrix);
    if (count == counts.end()) {
      continue;
    }
    const std::vector<const Tensor*> all = separate_experts(in, expert->matrix);
    const bool alike =
        std::ranges::all_of(all, [&](const Tensor* other) { return other->shape == tensor.shape; });
    if (all.size() != count->second || !alike) {
      return Error{"tensor " + printable(expert->matrix) +
                   ": expected experts of one shape, numbered from 0, found " +
                   (alike ? "a gap behind " + std::to_string(all.size()) : "others") + "."};
    }
    out.insert(out.end(), all.begin(), all.end());
    counts.erase(count);
  }
  return out;
}

bool is_experts(const Tensor& tensor) {
  return tensor.shape.size() > 2 || parse_expert_name(tensor.name);
}

Result<void> check_experts_type(const Tensor& tensor, const WeightFormat& to) {
  // One scale for all of them, or rows that share blocks.
  const bool shared = to.ternary && (to.cols_per_scale == 0 || to.row_group != 1);
  if (!is_experts(tensor) || !(shared || to.ggml_type == formats::kNoGgmlType)) {
    return {};
  }
  return Error{"tensor " + printable(tensor.name) +
               ": expected a type whose blocks have scales of their own for experts (TQ1_0, TQ2_0, "
               "Q2_0), found " +
               std::string(to.name) +
               (&to == tensor.format ? "; convert the folder to one of these first." : ".")};
}

std::string name_in_gguf(const Tensor& tensor, std::string_view architecture) {
  constexpr std::string_view kNorm = "ffn_norm.weight";
  if (architecture == "qwen35" && tensor.name.ends_with(kNorm)) {
    return tensor.name.substr(0, tensor.name.size() - kNorm.size()) + "post_attention_norm.weight";
  }
  const std::optional<ExpertName> expert = parse_expert_name(tensor.name);
  return expert ? expert->matrix : tensor.name;
}

void order_values(const Tensor& tensor, const ValueHeads& values, MatrixSource& source) {
  const size_t dot = tensor.name.find('.', 4);
  if (values.keys == 0 || !tensor.name.starts_with("blk.") || dot == std::string::npos) {
    return;
  }
  const std::string_view part = std::string_view(tensor.name).substr(dot + 1);
  const ValueHeads numbers{values.keys, values.values, 0, 1};  // one for each head
  const ValueHeads behind_queries_and_keys{values.keys, values.values,
                                           2 * values.keys * values.size, values.size};
  if (part == "attn_qkv.weight" || part == "ssm_conv1d.weight") {
    source.value_rows = behind_queries_and_keys;
  } else if (part == "attn_gate.weight") {
    source.value_rows = values;
  } else if (part == "ssm_alpha.weight" || part == "ssm_beta.weight") {
    source.value_rows = numbers;
  } else if (part == "ssm_a" || part == "ssm_dt.bias") {
    source.value_cols = numbers;
  } else if (part == "ssm_out.weight") {
    source.value_cols = values;
  }
}

}  // namespace tern::cli
