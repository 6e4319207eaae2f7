#include "engine/io/file_type.h"

#include <algorithm>

#include "engine/base/ascii.h"
#include "engine/io/formats.h"

namespace tern {
namespace {

// llama.cpp's numbers, bitnet.cpp's (I2_S) and ik_llama.cpp's (IQ1_BN, IQ2_BN).
struct FileType {
  std::string_view name;
  uint32_t number;
};
constexpr FileType kFileTypes[] = {{"F32", 0},      {"F16", 1},    {"BF16", 32}, {"TQ1_0", 36},
                                   {"TQ2_0", 37},   {"Q1_0", 40},  {"I2_S", 40}, {"IQ1_BN", 136},
                                   {"IQ2_BN", 137}, {"PQ2_0", 141}};

// Matrices that all files of a ternary type have in it.
constexpr std::string_view kLinear[] = {".attn_q.weight",      ".attn_k.weight",   ".attn_v.weight",
                                        ".attn_output.weight", ".ffn_gate.weight", ".ffn_up.weight",
                                        ".ffn_down.weight"};

bool is_linear(const Tensor& tensor) {
  return tensor.name.starts_with("blk.") && tensor.shape.size() == 2 &&
         std::ranges::any_of(kLinear, [&](auto end) { return tensor.name.ends_with(end); });
}

bool is_float(const WeightFormat& format) {
  return format.name == "F32" || format.name == "F16" || format.name == "BF16";
}

// The ternary type that the file says it has; of a number with two names the one that is no binary type.
std::string_view claimed_type(const TensorFile& file) {
  const auto number = file.get_int("general.file_type");
  if (!number || !*number) {
    return {};
  }
  std::string_view name;
  for (const FileType& type : kFileTypes) {
    const WeightFormat* format = find_weight_format(type.name);
    if (int64_t{type.number} == **number && format != nullptr && format->ternary) {
      name = type.name;
    }
  }
  return name;
}

}  // namespace

std::optional<uint32_t> file_type_of(std::string_view format) {
  const auto* found = std::ranges::find(kFileTypes, format, &FileType::name);
  return found == std::end(kFileTypes) ? std::nullopt : std::optional(found->number);
}

std::vector<std::string> notices_of_types(const TensorFile& file) {
  const std::string_view claimed = claimed_type(file);
  int64_t matrices = 0, floats = 0, looked_at = 0, trits = 0;
  std::string first;
  for (const Tensor& tensor : file.tensors()) {
    if (!is_linear(tensor)) {
      continue;
    }
    ++matrices;
    if (!is_float(*tensor.format)) {
      continue;
    }
    ++floats;
    const bool is_first = looked_at == 0 || tensor.name.starts_with("blk.0.");
    looked_at += is_first ? 1 : 0;
    // Nothing but zeros says nothing.
    const bool has_weights =
        std::ranges::any_of(tensor.data, [](std::byte byte) { return byte != std::byte{0}; });
    const bool ternary = is_first && has_weights &&
                         formats::find_ternary_floats(tensor.format->name, tensor.data,
                                                      tensor.rows(), tensor.cols()) != nullptr;
    trits += ternary ? 1 : 0;
    first = first.empty() || (ternary && trits == 1)
                ? tensor.name + " (" + std::string(tensor.format->name) + ")"
                : first;
  }
  const std::string says =
      claimed.empty() ? "" : "the file says that it is " + std::string(claimed) + ", but ";
  const std::string count = std::to_string(floats) + " of " + std::to_string(matrices) +
                            " matrices of its layers are floats, such as " + printable(first);
  if (trits > 0) {
    return {says + count + ", whose weights are -a, 0 and a alone: `tern convert " +
            printable(file.path().filename().string()) + " OUT.gguf --type " +
            lower(claimed.empty() ? "tq2_0" : claimed) +
            "` makes them about eight times smaller, and faster"};
  }
  if (floats > 0 && !claimed.empty()) {
    return {says + count + ", whose weights are not ternary: they are computed as they are"};
  }
  return {};
}

}  // namespace tern
