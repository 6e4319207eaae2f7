#include "tools/convert_keys.h"

#include <algorithm>
#include <array>
#include <limits>

#include "engine/arch/arch.h"
#include "engine/io/file_type.h"
#include "engine/io/hugging_face.h"

namespace tern::cli {
namespace {

constexpr std::string_view kRotateHalf = "tern.rope.rotate_half";
constexpr std::string_view kGroupedValues = "tern.delta_net.grouped_values";

// What Tern's keys of a folder say and those of a GGUF file cannot.
struct NoGgufWord {
  std::string_view key, what;
};
constexpr NoGgufWord kNoGgufWords[] = {
    {"tern.rotated_down_inputs",
     "one whose down projections want rotated inputs (OneCompression)"}};

bool is_left_out(std::string_view key, const KeyOptions& options) {
  return key.starts_with("split.") || key.starts_with("tern.packed.") ||
         key == "general.alignment" || key == "general.file_type" ||
         ((key == kRotateHalf || key == kGroupedValues) && !options.keep_row_order);
}

// Integers as the smallest of the types that loaders ask for: counts and ids are uint32 there, lists of them int32.
void set(GgufHead& out, const std::string& key, int64_t value) {
  if (value >= 0 && value <= int64_t{std::numeric_limits<uint32_t>::max()}) {
    out.set(key, static_cast<uint32_t>(value));
  } else {
    out.set(key, value);
  }
}
void set(GgufHead& out, const std::string& key, double value) {
  out.set(key, static_cast<float>(value));
}
void set(GgufHead& out, const std::string& key, bool value) {
  out.set(key, value);
}
void set(GgufHead& out, const std::string& key, std::string_view value) {
  out.set(key, value);
}

void set(GgufHead& out, const std::string& key, const std::vector<int64_t>& values) {
  std::vector<int32_t> narrow;
  narrow.reserve(values.size());
  for (const int64_t value : values) {
    narrow.push_back(static_cast<int32_t>(value));
  }
  out.set_array(key, std::span<const int32_t>(narrow));
}
void set(GgufHead& out, const std::string& key, const std::vector<double>& values) {
  const std::vector<float> narrow(values.begin(), values.end());
  out.set_array(key, std::span<const float>(narrow));
}
void set(GgufHead& out, const std::string& key, const std::vector<bool>& values) {
  out.set_bools(key, values);
}
void set(GgufHead& out, const std::string& key, const std::vector<std::string_view>& values) {
  out.set_array(key, std::span<const std::string_view>(values));
}
void set(GgufHead& out, const std::string& key, const MetaArray& values) {
  std::visit([&](const auto& v) { set(out, key, v); }, values);
}

bool is_folder(const TensorFile& in) {
  return is_hugging_face_model(in.path());
}

// What a GGUF file has and a folder leaves to be inferred.
void add_missing_keys(const TensorFile& in, GgufHead& out) {
  const auto add = [&](const std::string& key, auto value) {
    if (!in.metadata().contains(key)) {
      set(out, key, value);
    }
  };
  const std::string name = in.path().parent_path().filename().string();
  add("general.name", std::string_view(name));
  const auto prefix = in.get_string("general.architecture");
  if (!prefix || !*prefix) {
    return;
  }
  const std::string arch(**prefix);
  if (const Tensor* embedding = in.find("token_embd.weight")) {
    add(arch + ".vocab_size", embedding->rows());
  }
  if (const auto config = read_model_config(in)) {
    add(arch + ".rope.dimension_count", int64_t{config->head_dim});
  }
}

}  // namespace

void copy_keys(const TensorFile& in, const KeyOptions& options, GgufHead& out) {
  // First by custom: programs that show a file's beginning find it there.
  constexpr std::string_view kFirst = "general.architecture";
  const auto copy = [&](const std::string& key, const MetaValue& value) {
    if (const std::span<const std::byte> stored = in.stored_value(key); !stored.empty()) {
      out.set_stored(key, stored);
    } else {
      std::visit([&](const auto& v) { set(out, key, v); }, value);
    }
  };
  if (const auto found = in.metadata().find(kFirst); found != in.metadata().end()) {
    copy(found->first, found->second);
  }
  for (const auto& [key, value] : in.metadata()) {
    if (key != kFirst && !is_left_out(key, options)) {
      copy(key, value);
    }
  }
  if (is_folder(in)) {
    add_missing_keys(in, out);
  }
  if (!in.metadata().contains("general.quantization_version")) {
    out.set("general.quantization_version", uint32_t{2});
  }
  if (options.type != nullptr) {
    if (const std::optional<uint32_t> number = file_type_of(options.type->name)) {
      out.set("general.file_type", *number);
    }
  }
}

Result<ReorderedHeads> find_reordered_heads(const TensorFile& in) {
  if (!is_folder(in)) {
    return ReorderedHeads{};  // written as it is read, its own keys included
  }
  for (const NoGgufWord& key : kNoGgufWords) {
    ASSIGN_OR_RETURN(const std::optional<bool> found, in.get_bool(key.key));
    if (found.value_or(false)) {
      return Error{"expected a model that a GGUF file can hold, found " + std::string(key.what) +
                   "; other programs would run the file wrongly. Run the folder itself."};
    }
  }
  std::vector<std::string> ignored;
  ASSIGN_OR_RETURN(ModelConfig config, read_config(in, ignored));
  ReorderedHeads out;
  out.architecture = config.architecture;
  const DeltaNet& delta = config.delta_net;
  if (delta.layers > 0 && delta.grouped && delta.value_heads != delta.key_heads) {
    out.values = {delta.key_heads, delta.value_heads, 0, delta.state};
  }
  const bool halves = config.ropes[0].rotate_half;
  RETURN_IF_ERROR(find_architecture(config.architecture)->configure(in, config, ignored));
  if (halves && !config.ropes[0].rotate_half) {
    out.queries = config.heads;
    out.keys = config.kv_heads;
  }
  return out;
}

}  // namespace tern::cli
