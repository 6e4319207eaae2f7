#include "tools/model_summary.h"

#include <variant>

namespace tern::cli {
namespace {

std::string_view dense_name(DenseType type) {
  return type == DenseType::kF16 ? "F16" : "Q8_0";
}

}  // namespace

std::string describe_head(const Model& model) {
  const Tensor* own = model.file().find("output.weight");
  const Tensor* tensor = own != nullptr ? own : model.file().find("token_embd.weight");
  const std::string in_file =
      tensor == nullptr ? "of an unknown type" : std::string(tensor->format->name);
  const std::string begin = "output head: ";
  const Linear& head = model.decoder().head;
  if (std::holds_alternative<SplitMatrix>(head.matrix)) {
    return begin + (in_file == "Q6_K" ? "Q6_K, split into two planes of the same numbers"
                                      : "rounded from " + in_file + " to 6 bits in two planes");
  }
  if (const auto* dense = std::get_if<DenseMatrix>(&head.matrix)) {
    const std::optional<DenseMatrix> original =
        tensor == nullptr ? std::nullopt : dense_matrix(*tensor);
    if (original && original->type != dense->type) {
      return begin + "converted from " + in_file + " to " + std::string(dense_name(dense->type));
    }
  }
  const bool rounds =
      in_file == "F32" || in_file == "F16" || in_file == "BF16" || in_file == "Q8_0";
  return begin + in_file + ", as in the file" +
         (rounds ? " (--head-type q6_k rounds it to 6 bits: larger ones then generate faster)"
                 : "");
}

}  // namespace tern::cli
