#include "tools/inspect_report.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/arch/arch.h"
#include "engine/base/memory.h"
#include "engine/base/printable.h"
#include "engine/io/hugging_face.h"
#include "engine/session/session.h"

namespace tern::cli {
namespace {

using Json = nlohmann::ordered_json;

struct TypeTotal {
  std::string_view name;
  int64_t tensors = 0;
  int64_t weights = 0;
  uint64_t bytes = 0;

  void add(const Tensor& tensor) {
    ++tensors;
    weights += tensor.count();
    bytes += tensor.data.size() + tensor.scales.size();
  }
  double bits() const {
    return weights == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(weights);
  }
};

// All that the report says, before it becomes text or JSON.
struct Inspection {
  uint64_t file_bytes = 0;
  TypeTotal all{"all"};
  TypeTotal ternary{"ternary"};
  std::vector<TypeTotal> types;  // in order of appearance
  uint64_t available = 0;
  std::optional<ModelConfig> config;
  std::string refusal;  // why there are no plans
  std::vector<std::string> notices;
  std::vector<MemoryPlan> plans;  // the model's own context; then the default, if it is another
};

void add_tensors(const TensorFile& file, Inspection& out) {
  for (const Tensor& tensor : file.tensors()) {
    out.all.add(tensor);
    auto type = std::ranges::find(out.types, tensor.format->name, &TypeTotal::name);
    if (type == out.types.end()) {
      type = out.types.insert(type, TypeTotal{tensor.format->name});
    }
    type->add(tensor);
    if (tensor.format->ternary) {
      out.ternary.add(tensor);
    }
  }
}

Result<void> add_plans(const TensorFile& file, const ModelConfig& config,
                       const InspectOptions& options, Inspection& out) {
  ASSIGN_OR_RETURN(const ModelPlan model,
                   ModelPlan::create(file, config, *options.kernels, options.choice));
  const SessionOptions whole{
      .context = config.context, .kv_type = options.kv_type, .threads = options.threads};
  const SessionOptions standard{
      .context = options.context, .kv_type = options.kv_type, .threads = options.threads};
  out.plans.push_back(plan_memory(model.shape(), whole, 0));
  const MemoryPlan plan = plan_memory(model.shape(), standard, options.available);
  if (plan.context != config.context) {
    out.plans.push_back(plan);
  }
  return {};
}

Inspection inspect(const TensorFile& file, const InspectOptions& options) {
  Inspection out;
  out.available = options.available;
  for (const MappedFile& part : file.files()) {
    out.file_bytes += part.bytes().size();
  }
  add_tensors(file, out);
  out.notices.assign(file.notices().begin(), file.notices().end());
  const auto config = read_config(file, out.notices);
  if (!config) {
    out.refusal = config.error().message;
    return out;
  }
  out.config = *config;
  if (const Result<void> planned = add_plans(file, *config, options, out); !planned) {
    out.refusal = planned.error().message;
  }
  return out;
}

// "2.41 B": powers of 1000, three digits.
std::string human_count(int64_t count) {
  constexpr std::array<const char*, 5> kUnits = {"", " k", " M", " B", " T"};
  auto value = static_cast<double>(count);
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  const int decimals = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.*f%s", decimals, value, kUnits[unit]);
  return text.data();
}

std::string number_text(double value, const char* format) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

std::string shape_text(const Tensor& tensor) {
  std::string text;
  for (const int64_t size : tensor.shape) {
    text += (text.empty() ? "" : " x ") + std::to_string(size);
  }
  return text;
}

// Columns as wide as their widest cell. Numbers are aligned right, by the column's letter: "lrr".
class Table {
 public:
  explicit Table(std::string_view alignment) : alignment_(alignment), widths_(alignment.size()) {}

  void add(std::vector<std::string> cells) {
    for (size_t i = 0; i < cells.size(); ++i) {
      widths_[i] = std::max(widths_[i], cells[i].size());
    }
    rows_.push_back(std::move(cells));
  }

  std::string text() const {
    std::string out;
    for (const auto& row : rows_) {
      std::string line = " ";
      for (size_t i = 0; i < row.size(); ++i) {
        const std::string space(widths_[i] - row[i].size(), ' ');
        line += (i == 0 ? " " : "  ") + (alignment_[i] == 'r' ? space + row[i] : row[i] + space);
      }
      out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    }
    return out;
  }

 private:
  std::string_view alignment_;
  std::vector<size_t> widths_;
  std::vector<std::vector<std::string>> rows_;
};

// Values of the metadata as text.
std::string value_text(int64_t value) {
  return std::to_string(value);
}
std::string value_text(double value) {
  return number_text(value, "%.7g");
}
std::string value_text(bool value) {
  return value ? "true" : "false";
}
std::string value_text(std::string_view value) {
  constexpr size_t kLimit = 56;
  return value.size() <= kLimit
             ? printable(value, 4 * kLimit)
             : printable(value, kLimit) + " (" + std::to_string(value.size()) + " bytes)";
}

std::string element_text(auto value) {
  return value_text(value);
}
std::string element_text(std::string_view value) {
  return '"' + printable(value, 16) + '"';
}

template <class T>
std::string value_text(const std::vector<T>& values) {
  constexpr size_t kShown = 4;
  std::string text = "[";
  for (size_t i = 0; i < std::min(values.size(), kShown); ++i) {
    const T value = values[i];
    text += (i == 0 ? "" : ", ") + element_text(value);
  }
  return values.size() <= kShown ? text + "]"
                                 : text + ", ... " + std::to_string(values.size()) + " in all]";
}

std::string value_text(const MetaArray& value) {
  return std::visit([](const auto& values) { return value_text(values); }, value);
}

std::string metadata_section(const TensorFile& file) {
  Table table("ll");
  for (const auto& [key, value] : file.metadata()) {
    table.add({printable(key), std::visit([](const auto& v) { return value_text(v); }, value)});
  }
  return "\nKeys (" + std::to_string(file.metadata().size()) + ")\n" + table.text();
}

std::string tensors_section(const TensorFile& file) {
  Table table("llrr");
  table.add({"name", "type", "shape", "size"});
  for (const Tensor& tensor : file.tensors()) {
    table.add({printable(tensor.name), std::string(tensor.format->name), shape_text(tensor),
               human_bytes(tensor.data.size())});
  }
  return "\nTensors (" + std::to_string(file.tensors().size()) + ")\n" + table.text();
}

std::string types_section(const Inspection& inspection) {
  Table table("lrrrr");
  table.add({"type", "tensors", "weights", "size", "bits per weight"});
  const auto add = [&](const TypeTotal& total) {
    table.add({std::string(total.name), std::to_string(total.tensors), human_count(total.weights),
               human_bytes(total.bytes), number_text(total.bits(), "%.2f")});
  };
  std::ranges::for_each(inspection.types, add);
  if (inspection.types.size() > 1) {
    add(inspection.all);
  }
  std::string text = "\nBits per weight\n" + table.text();
  if (inspection.ternary.tensors > 0) {
    text += "  The ternary weights take " + number_text(inspection.ternary.bits(), "%.2f") +
            " bits each in the file.\n";
  }
  return text;
}

std::string architecture_line(const ModelConfig& config) {
  const auto text = [](int32_t value) { return std::to_string(value); };
  return config.architecture + ": " + text(config.layers) +
         (config.layers == 1 ? " layer" : " layers") +
         (config.delta_net.layers > 0 ? " (" + text(config.delta_net.layers) + " recurrent)" : "") +
         " of width " + text(config.width) + ", ffn " + text(config.ffn) +
         (config.experts.count > 0
              ? " (" + text(config.experts.used) + " of " + text(config.experts.count) + " experts)"
              : "") +
         ", " + text(config.heads) + " heads of " + text(config.head_dim) + " (" +
         text(config.kv_heads) + " kv), vocabulary " + text(config.vocab) + ", context " +
         text(config.context);
}

std::string memory_section(const Inspection& inspection, const InspectOptions& options) {
  std::string out = "\nMemory to run it\n";
  const bool two = inspection.plans.size() > 1;
  Table table(two ? "lrr" : "lr");
  const auto add = [&](const std::string& label, auto value_of) {
    std::vector<std::string> row{label};
    for (const MemoryPlan& plan : inspection.plans) {
      row.push_back(value_of(plan));
    }
    table.add(std::move(row));
  };
  add("context", [](const MemoryPlan& plan) { return std::to_string(plan.context) + " tokens"; });
  const WeightMemory& weights = inspection.plans.front().weights;
  add("weights packed at load", [&](const MemoryPlan&) { return human_bytes(weights.computed); });
  add("weights used in the file", [&](const MemoryPlan&) { return human_bytes(weights.mapped); });
  if (weights.experts > 0) {
    add("experts, once all are used",
        [&](const MemoryPlan&) { return human_bytes(weights.experts); });
  }
  add(options.kv_type == KvType::kF16 ? "KV cache, f16" : "KV cache, q8_0",
      [](const MemoryPlan& plan) { return human_bytes(plan.kv_cache); });
  if (inspection.plans.front().recurrent_state > 0) {
    add("recurrent state, three times",
        [](const MemoryPlan& plan) { return human_bytes(plan.recurrent_state); });
  }
  add("scratch", [](const MemoryPlan& plan) { return human_bytes(plan.workspace); });
  add("together", [](const MemoryPlan& plan) { return human_bytes(plan.total()); });
  if (inspection.available > 0) {
    add("free now", [&](const MemoryPlan&) { return human_bytes(inspection.available); });
    add("", [&](const MemoryPlan& plan) {
      return plan.total() <= inspection.available ? "fits" : "does not fit";
    });
  }
  out += table.text();
  if (two) {
    out += "  The second column is what `tern run` takes " +
           std::string(options.context > 0 ? "with this -c" : "unless -c says otherwise") +
           "; --kv-type q8_0 takes half of the KV cache.\n";
  }
  if (weights.looked_up > 0) {
    out += "  Of the token embedding (" + human_bytes(weights.looked_up) +
           " in the file) single rows are read, which are not counted.\n";
  }
  return out;
}

std::string container_name(const TensorFile& file) {
  return is_hugging_face_model(file.path()) ? "safetensors" : "GGUF";
}

std::string report_text(const TensorFile& file, const Inspection& inspection,
                        const InspectOptions& options) {
  std::string out = file.path().string() + ": " + container_name(file);
  if (file.files().size() > 1) {
    out += " in " + std::to_string(file.files().size()) + " parts";
  }
  out += ", " + human_bytes(inspection.file_bytes) + ", " + std::to_string(inspection.all.tensors) +
         " tensors, " + human_count(inspection.all.weights) + " weights\n";
  if (inspection.config) {
    out += architecture_line(*inspection.config) + "\n";
  }
  if (inspection.plans.empty()) {
    out += "Tern cannot run it: " + inspection.refusal + "\n";
  }
  for (const std::string& notice : inspection.notices) {
    out += "note: " + notice + "\n";
  }
  out += metadata_section(file);
  if (inspection.all.tensors > 0) {
    out += tensors_section(file) + types_section(inspection);
  }
  return inspection.plans.empty() ? out : out + memory_section(inspection, options);
}

// Values of the metadata as JSON. Long arrays: their length and their beginning.
Json value_json(int64_t value) {
  return value;
}
Json value_json(double value) {
  return value;
}
Json value_json(bool value) {
  return value;
}
Json value_json(std::string_view value) {
  return value;
}

Json value_json(const MetaArray& array) {
  return std::visit(
      []<class T>(const std::vector<T>& values) {
        constexpr size_t kWhole = 16;
        constexpr size_t kShown = 8;
        const size_t shown = values.size() <= kWhole ? values.size() : kShown;
        Json list = Json::array();
        for (size_t i = 0; i < shown; ++i) {
          const T value = values[i];
          list.push_back(value_json(value));
        }
        return shown == values.size() ? list : Json{{"count", values.size()}, {"first", list}};
      },
      array);
}

Json config_json(const ModelConfig& config) {
  return {
      {"name", config.architecture}, {"layers", config.layers},    {"width", config.width},
      {"ffn", config.ffn},           {"heads", config.heads},      {"kv_heads", config.kv_heads},
      {"head_dim", config.head_dim}, {"vocabulary", config.vocab}, {"context", config.context}};
}

Json total_json(const TypeTotal& total) {
  return {{"type", total.name},
          {"tensors", total.tensors},
          {"weights", total.weights},
          {"bytes", total.bytes},
          {"bits_per_weight", total.bits()}};
}

Json memory_json(const Inspection& inspection) {
  Json plans = Json::array();
  for (const MemoryPlan& plan : inspection.plans) {
    plans.push_back({{"context", plan.context},
                     {"kv_cache", plan.kv_cache},
                     {"recurrent_state", plan.recurrent_state},
                     {"scratch", plan.workspace},
                     {"total", plan.total()}});
  }
  const WeightMemory weights =
      inspection.plans.empty() ? WeightMemory() : inspection.plans.front().weights;
  return {{"available", inspection.available}, {"packed_weights", weights.computed},
          {"mapped_weights", weights.mapped},  {"experts", weights.experts},
          {"looked_up", weights.looked_up},    {"plans", plans}};
}

std::string report_json(const TensorFile& file, const Inspection& inspection) {
  Json out;
  out["file"] = file.path().string();
  out["format"] = container_name(file);
  out["parts"] = file.files().size();
  out["bytes"] = inspection.file_bytes;
  if (inspection.config) {
    out["architecture"] = config_json(*inspection.config);
  }
  if (inspection.plans.empty()) {
    out["refusal"] = inspection.refusal;
  }
  out["notices"] = inspection.notices;
  Json metadata = Json::object();
  for (const auto& [key, value] : file.metadata()) {
    metadata[key] = std::visit([](const auto& v) { return value_json(v); }, value);
  }
  out["metadata"] = std::move(metadata);
  Json tensors = Json::array();
  for (const Tensor& tensor : file.tensors()) {
    tensors.push_back({{"name", tensor.name},
                       {"type", tensor.format->name},
                       {"shape", tensor.shape},
                       {"bytes", tensor.data.size()}});
  }
  out["tensors"] = std::move(tensors);
  out["types"] = Json::array();
  for (const TypeTotal& total : inspection.types) {
    out["types"].push_back(total_json(total));
  }
  out["all"] = total_json(inspection.all);
  out["ternary"] = total_json(inspection.ternary);
  out["memory"] = memory_json(inspection);
  // Keys and names are bytes from a file: whatever is no UTF-8 becomes a replacement character.
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string inspect_report(const TensorFile& file, const InspectOptions& options) {
  const Inspection inspection = inspect(file, options);
  return options.json ? report_json(file, inspection)
                      : printable_lines(report_text(file, inspection, options));
}

}  // namespace tern::cli
