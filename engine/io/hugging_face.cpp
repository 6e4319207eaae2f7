#include "engine/io/hugging_face.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "engine/base/input_file.h"
#include "engine/base/json_limits.h"
#include "engine/base/json_text.h"
#include "engine/base/text_set.h"
#include "engine/io/compressed_layers.h"
#include "engine/io/file_kind.h"
#include "engine/io/formats.h"
#include "engine/io/other_parts.h"
#include "engine/io/safetensors.h"

namespace tern {
namespace {

using Json = nlohmann::json;
using safetensors::Entry;

struct Rename {
  std::string_view theirs;
  std::string_view ours;
};
constexpr Rename kGlobalNames[] = {{"model.embed_tokens", "token_embd"},
                                   {"model.word_embeddings", "token_embd"},
                                   {"model.norm", "output_norm"},
                                   {"lm_head", "output"}};
constexpr Rename kLayerNames[] = {{"input_layernorm", "attn_norm"},
                                  {"post_attention_layernorm", "ffn_norm"},
                                  {"self_attn.q_proj", "attn_q"},
                                  {"self_attn.k_proj", "attn_k"},
                                  {"self_attn.v_proj", "attn_v"},
                                  {"self_attn.o_proj", "attn_output"},
                                  {"self_attn.q_norm", "attn_q_norm"},
                                  {"self_attn.k_norm", "attn_k_norm"},
                                  {"self_attn.query_layernorm", "attn_q_norm"},
                                  {"self_attn.key_layernorm", "attn_k_norm"},
                                  {"self_attn.attn_sub_norm", "attn_sub_norm"},
                                  {"self_attn.inner_attn_ln", "attn_sub_norm"},
                                  {"mlp.gate_proj", "ffn_gate"},
                                  {"mlp.up_proj", "ffn_up"},
                                  {"mlp.down_proj", "ffn_down"},
                                  {"mlp.ffn_sub_norm", "ffn_sub_norm"},
                                  {"mlp.ffn_layernorm", "ffn_sub_norm"},
                                  {"mlp.gate", "ffn_gate_inp"},
                                  {"linear_attn.in_proj_qkv", "attn_qkv"},
                                  {"linear_attn.in_proj_z", "attn_gate"},
                                  {"linear_attn.in_proj_a", "ssm_alpha"},
                                  {"linear_attn.in_proj_b", "ssm_beta"},
                                  {"linear_attn.conv1d", "ssm_conv1d"},
                                  {"linear_attn.norm", "ssm_norm"},
                                  {"linear_attn.out_proj", "ssm_out"}};

// Gemma has norms behind its blocks too, and calls them otherwise.
constexpr Rename kGemmaNames[] = {{"post_attention_layernorm", "post_attention_norm"},
                                  {"pre_feedforward_layernorm", "ffn_norm"},
                                  {"post_feedforward_layernorm", "post_ffw_norm"}};
// A norm of a projection's own, under the names of the published models and of transformers.
constexpr std::string_view kInputNorms[] = {".norm", ".rms_norm"};

template <size_t N>
std::string_view renamed(const Rename (&table)[N], std::string_view stem) {
  const auto found = std::ranges::find(table, stem, &Rename::theirs);
  return found == std::end(table) ? std::string_view() : found->ours;
}

bool is_input_norm(const std::string& name) {
  return name.ends_with("_proj.norm.weight");
}

std::string layer_name(std::string_view part, bool gemma) {
  for (const std::string_view norm : kInputNorms) {
    const std::string_view of =
        part.ends_with(norm) ? renamed(kLayerNames, part.substr(0, part.size() - norm.size()))
                             : std::string_view();
    if (!of.empty()) {
      return std::string(of) + "_norm_in";
    }
  }
  if (std::string experts = expert_part(part); !experts.empty()) {
    return experts;
  }
  const std::string_view own = gemma ? renamed(kGemmaNames, part) : std::string_view();
  return std::string(own.empty() ? renamed(kLayerNames, part) : own);
}

// Layers that predict further tokens, the rough head that Maple's folders have beside the exact one, and what older
// versions of transformers saved although config.json says it: nothing is lost without them.
bool is_left_out(std::string_view name) {
  return name.starts_with("mtp.") || name.starts_with("lm_head_flash.") ||
         name.ends_with(".rotary_emb.inv_freq");
}

// The name of a tensor in a model with a head and nothing else: models saved without a head leave out the prefix, those with other
// parts beside the language model have a longer one.
std::string full_name(std::string_view name) {
  constexpr std::string_view kLonger = "model.language_model.";
  if (name.starts_with(kLonger)) {
    return "model." + std::string(name.substr(kLonger.size()));
  }
  const bool inner =
      name.starts_with("layers.") || name.starts_with("embed_tokens.") || name.starts_with("norm.");
  return (inner ? "model." : "") + std::string(name);
}

}  // namespace

std::string gguf_stem(std::string_view stem, bool gemma) {
  if (const std::string_view name = renamed(kGlobalNames, stem); !name.empty()) {
    return std::string(name);
  }
  constexpr std::string_view kLayers = "model.layers.";
  if (stem.starts_with(kLayers)) {
    const size_t dot = stem.find('.', kLayers.size());
    if (dot != std::string_view::npos) {
      const std::string name = layer_name(stem.substr(dot + 1), gemma);
      if (!name.empty()) {
        return "blk." + std::string(stem.substr(kLayers.size(), dot - kLayers.size())) + "." + name;
      }
    }
  }
  return std::string(stem);
}

namespace {

// What quantization_config says of the linear layers.
struct Quantization {
  enum class Kind : uint8_t {
    kNone,      // floats, ternary only if their values are
    kDivide,    // BitLinear: packed, y divided by weight_scale
    kMultiply,  // AutoBitLinear: packed, y multiplied by weight_scale; or floats rounded by absmean
    kCompressed  // OneCompression: sign matrices and scales, or codes of GPTQ
  };
  Kind kind = Kind::kNone;
  bool absmean = false;        // float weights are rounded each time the model runs
  bool rotated = false;        // the inputs of down projections want the transform of the weights
  bool balanced = false;       // the scales are those of weights that were balanced first
  bool zeros_less_one = true;  // of GPTQ
  TextSet kept_as_they_are;    // parts of names

  bool covers(std::string_view name) const {
    const bool matrix = name.find("_proj") != std::string_view::npos ||
                        name.find(".mlp.gate.") != std::string_view::npos;  // the router of experts
    return name.starts_with("model.layers.") && matrix && !kept_as_they_are.any_in(name);
  }
};

std::string text_at(const Json& object, const char* key, const char* fallback = "") {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : fallback;
}

Result<Quantization> read_quantization(const Json& config) {
  Quantization out;
  const auto found = config.find("quantization_config");
  if (found == config.end() || !found->is_object()) {
    const auto names = config.find("architectures");
    const std::string name =
        names != config.end() && names->is_array() && !names->empty() && names->front().is_string()
            ? names->front().get<std::string>()
            : "";
    // The 1bitLLM models publish float weights that their own code rounds.
    out.absmean = name == "BitnetForCausalLM";
    // OneBit's, ready to be run.
    if (name == "BitLlamaForCausalLMInf") {
      out.kind = Quantization::Kind::kCompressed;
    }
    // What OneCompression rotated and did not compress yet says so by this key alone.
    out.rotated = config.contains("fp32_had");
    return out;
  }
  const std::string method = text_at(*found, "quant_method");
  if (method == "littlebit" || method == "nanoquant") {
    return out;  // known by their names
  }
  if (is_onecomp_method(method)) {
    // Version 2 of GPTQ's format holds zeros as they are. Others have another order of codes.
    const std::string format = text_at(*found, "checkpoint_format", "gptq");
    if (format != "gptq" && format != "gptq_v2") {
      return Error{"config.json: key checkpoint_format: expected gptq or gptq_v2, found " +
                   printable(format) + "; save the model again in one of these."};
    }
    out.zeros_less_one = format == "gptq";
    const auto balanced = found->find("use_balancing");
    out.balanced = method == "onebit" && balanced != found->end() && *balanced == true;
    for (const Json* object : {&config, &*found}) {
      const auto rotated = object->find("rotated");
      out.rotated |= rotated != object->end() && *rotated == true;
    }
    out.kind = Quantization::Kind::kCompressed;
    return out;
  }
  if (method != "bitnet") {
    return Error{
        "config.json: key quant_method: expected bitnet, dbf, mixed_dbf, mdbf, onebit, gptq, "
        "mixed_gptq or autobit, found " +
        printable(method) + "."};
  }
  const std::string linear = text_at(*found, "linear_class", "bitlinear");
  if (linear != "bitlinear" && linear != "autobitlinear") {
    return Error{"config.json: key linear_class: expected bitlinear or autobitlinear, found " +
                 printable(linear) + ": whether scales multiply or divide depends on it."};
  }
  out.kind = linear == "bitlinear" ? Quantization::Kind::kDivide : Quantization::Kind::kMultiply;
  out.absmean =
      linear == "autobitlinear" && text_at(*found, "quantization_mode", "offline") == "online";
  if (const auto kept = found->find("modules_to_not_convert");
      kept != found->end() && kept->is_array()) {
    std::vector<std::string> names;
    for (const Json& name : *kept) {
      if (name.is_string()) {
        names.push_back(name.get<std::string>());
      }
    }
    out.kept_as_they_are = TextSet(names);
  }
  return out;
}

const WeightFormat* float_format(std::string_view dtype, bool absmean) {
  if (dtype == "F32") {
    return absmean ? &formats::kF32Absmean : &formats::kF32;
  }
  if (dtype == "F16") {
    return absmean ? &formats::kF16Absmean : &formats::kF16;
  }
  if (dtype == "BF16") {
    return absmean ? &formats::kBf16Absmean : &formats::kBf16;
  }
  return nullptr;
}

// How the weights of a tensor lie, and its logical shape, fastest first.
Result<Tensor> tensor_of(const Entry& entry, const Quantization& quantization) {
  Tensor tensor;
  tensor.data = entry.data;
  tensor.shape.assign(entry.shape.rbegin(), entry.shape.rend());
  if (tensor.shape.empty()) {
    tensor.shape.push_back(1);
  }
  if (entry.count == 0 || tensor.shape.size() > 4) {
    return Error{"expected 1 to 4 dimensions of at least 1, found another shape."};
  }
  const std::string name = full_name(entry.name);
  const bool covered = quantization.covers(name);
  const bool linear = tensor.shape.size() == 2 && covered;
  const bool stacked = tensor.shape.size() == 3 && covered;  // the matrices of all experts
  const bool packed = quantization.kind == Quantization::Kind::kDivide ||
                      quantization.kind == Quantization::Kind::kMultiply;
  if (entry.dtype == "U8" && linear && packed) {
    tensor.shape[1] *= 4;
    tensor.format = &formats::kPackedRows;
    return tensor;
  }
  tensor.format = float_format(entry.dtype, linear && quantization.absmean);
  if (tensor.format == nullptr) {
    return Error{"expected F32, F16 or BF16 (or U8 in a packed BitNet layer), found " +
                 entry.dtype + "."};
  }
  if ((linear && !quantization.absmean && !is_single_expert(name)) || stacked) {
    const WeightFormat* ternary =
        formats::find_ternary_floats(entry.dtype, entry.data, tensor.rows(), tensor.cols());
    tensor.format = ternary != nullptr ? ternary : tensor.format;
  }
  return tensor;
}

// The one number of a scale tensor.
Result<float> number_of(const Entry& entry) {
  if (entry.count != 1) {
    return Error{"expected one number, found " + std::to_string(entry.count) + "."};
  }
  ASSIGN_OR_RETURN(const std::vector<float> values, safetensors::numbers(entry));
  return values[0];
}

// Codes, scales or biases of a matrix that MLX quantised.
bool is_mlx_part(std::string_view part, const Entry& entry) {
  return part == ".scales" || part == ".biases" || part == ".row_alpha" ||
         (part == ".weight" && entry.dtype == "U32");
}

// Shards whose index was not downloaded, or files that somebody renamed: which of them belong together is not known.
Result<void> refuse_shards_without_index(const std::filesystem::path& folder) {
  std::error_code error;
  if (std::filesystem::exists(folder / "model.safetensors", error) ||
      std::filesystem::is_symlink(folder / "model.safetensors", error)) {
    return {};
  }
  std::set<std::string> found;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() == ".safetensors") {
      found.insert(entry->path().filename().string());
    }
  }
  if (found.empty()) {
    return {};
  }
  return Error{folder.string() +
               ": expected model.safetensors, or model.safetensors.index.json with the files that "
               "it lists, found " +
               printable(*found.begin()) +
               (found.size() == 1 ? "" : " and " + std::to_string(found.size() - 1) + " more") +
               " without an index: download the index too, and give the files their original "
               "names."};
}

// The files that hold the tensors: one, or those that an index lists.
Result<std::vector<std::string>> shard_names(const std::filesystem::path& folder) {
  std::error_code ignored;
  const std::filesystem::path index = folder / "model.safetensors.index.json";
  if (!std::filesystem::exists(index, ignored)) {
    RETURN_IF_ERROR(refuse_shards_without_index(folder));
    return std::vector<std::string>{"model.safetensors"};
  }
  ASSIGN_OR_RETURN(const Json json, read_json_file(index));
  const auto map = json.find("weight_map");
  if (map == json.end() || !map->is_object() || map->empty()) {
    return Error{index.string() + ": expected a weight_map, found none."};
  }
  constexpr size_t kMostShards = 10'000;  // the largest published models have some hundreds
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : std::string();
    if (name.empty() || name.find('/') != std::string::npos || name.starts_with("..") ||
        !check_path(name)) {
      return Error{index.string() + ": tensor " + printable(tensor) +
                   ": expected the name of a file in the same folder, found " + printable(name) +
                   "."};
    }
    names.insert(name);
    if (names.size() > kMostShards) {
      return Error{index.string() + ": expected at most " + std::to_string(kMostShards) +
                   " files, found more; download it again."};
    }
  }
  return std::vector<std::string>(names.begin(), names.end());
}

}  // namespace

bool is_hugging_face_model(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored) || path.extension() == ".safetensors" ||
         path.string().ends_with(".safetensors.index.json");
}

Result<Json> read_json_file(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    return missing_file(path);
  }
  ASSIGN_OR_RETURN(const std::string text, read_text_file(path));
  Json json = parse_json(text);
  if (json.is_object()) {
    return json;
  }
  if (exceeds_json_limits(text)) {
    return Error{path.string() +
                 ": expected a JSON object, found one that is nested deeper, or has more values, "
                 "than any model's file; download it again."};
  }
  const std::span<const std::byte> bytes = std::as_bytes(std::span(text));
  const bool cut_off = !json.is_array() && text.starts_with('{');
  return cut_off
             ? Error{path.string() +
                     ": expected a JSON object, found one that is cut off or damaged; " +
                     "download it again."}
             : wrong_kind_of_file(bytes, "a JSON object", "download it again.").in(path.string());
}

void HuggingFaceReader::add_tensor(Tensor tensor) {
  out_.index_.emplace(tensor.name, out_.tensors_.size());
  out_.tensors_.push_back(std::move(tensor));
}

void HuggingFaceReader::add_floats(const std::string& name, std::vector<float> values) {
  const auto size = static_cast<int64_t>(values.size());
  add_floats(name, std::move(values), {size});
}

void HuggingFaceReader::add_floats(const std::string& name, std::vector<float> values,
                                   std::vector<int64_t> shape) {
  const std::vector<float>& kept = out_.numbers_.emplace_back(std::move(values));
  add_tensor({name, &formats::kF32, std::move(shape), std::as_bytes(std::span(kept)), 0});
}

void HuggingFaceReader::add_halves(Tensor tensor, std::vector<uint16_t> values) {
  tensor.data = std::as_bytes(std::span(out_.halves_.emplace_back(std::move(values))));
  add_tensor(std::move(tensor));
}

// The matrices of MLX, whose parts have been gathered from all files, by module.
Result<void> HuggingFaceReader::add_mlx(const std::map<std::string, mlx::Matrix>& matrices,
                                        const mlx::Quantization& quantization, bool tied,
                                        bool gemma) {
  int64_t narrow = 0, narrow_weights = 0;
  for (const auto& [module, matrix] : matrices) {
    const std::string where = folder_.string() + ": tensor " + printable(module + ".weight");
    const std::string full = full_name(module + ".weight");
    const std::string stem = gguf_stem(std::string_view(full).substr(0, full.rfind('.')), gemma);
    if (tied && stem == "output") {
      continue;  // a copy of the embedding
    }
    const bool linear = stem != "token_embd" && stem != "output";
    auto read = mlx::read(matrix, quantization.of(module), linear);
    if (!read) {
      return read.error().in(where);
    }
    read->tensor.name = stem + ".weight";
    if (out_.index_.contains(read->tensor.name)) {
      return Error{where + " occurs twice: the files do not belong together."};
    }
    if (read->too_narrow) {
      ++narrow;
      narrow_weights += read->tensor.count();
    }
    if (read->own.empty()) {
      add_tensor(std::move(read->tensor));
    } else {
      add_halves(std::move(read->tensor), std::move(read->own));
    }
  }
  if (narrow > 0) {
    constexpr int64_t kInMegabyte = 500'000;  // weights of two bytes
    add_notice(std::to_string(narrow) +
               " ternary matrices in groups of 32 columns, which no ternary kernel reads, were "
               "made F16: about " +
               std::to_string((narrow_weights + kInMegabyte - 1) / kInMegabyte) +
               " MB of memory, which every token reads, where two bits would take an eighth. A "
               "model in groups of 64 or 128 runs as ternary");
  }
  return {};
}

bool HuggingFaceReader::embeddings_are_tied() const {
  const auto says = [](const Json& config) {
    const auto tied = config.find("tie_word_embeddings");
    return tied != config.end() && *tied == true;
  };
  const auto of_text = config_.find("text_config");
  return says(config_) || (of_text != config_.end() && of_text->is_object() && says(*of_text));
}

// Vectors that GGUF files of the architecture hold in another form.
Result<bool> HuggingFaceReader::add_changed(const safetensors::Entry& entry,
                                            const std::string& stem, const std::string& part) {
  ASSIGN_OR_RETURN(const std::optional<std::string_view> architecture,
                   out_.get_string("general.architecture"));
  const bool hybrid = architecture == "qwen35";
  // Gemma and Qwen3.5 multiply by 1 + weight; GGUF files hold the sum.
  const bool more_than_one = (architecture == "gemma3" || hybrid) && stem.ends_with("_norm") &&
                             !stem.ends_with("ssm_norm");
  const bool convolution = hybrid && stem.ends_with("ssm_conv1d");
  const bool in_layer = stem.starts_with("model.layers.");
  const bool decay = hybrid && in_layer && part == ".A_log";
  const bool time_bias = hybrid && in_layer && part == ".dt_bias";
  if (!more_than_one && !convolution && !decay && !time_bias) {
    return false;
  }
  ASSIGN_OR_RETURN(std::vector<float> values, safetensors::numbers(entry));
  if (convolution) {  // one channel in, one out: its dimension of 1 goes
    if (entry.shape.size() != 3 || entry.shape[1] != 1) {
      return Error{"expected channels x 1 x steps, found another shape."};
    }
    add_floats(stem + part, std::move(values), {entry.shape[2], entry.shape[0]});
    return true;
  }
  // Those two names have a layer's part alone before them: model.layers.N.linear_attn
  const size_t number = std::string_view("model.layers.").size();
  const std::string layer =
      decay || time_bias ? "blk." + stem.substr(number, stem.find('.', number) - number) + "." : "";
  if (decay) {
    std::ranges::for_each(values, [](float& value) { value = -std::exp(value); });
    add_floats(layer + "ssm_a", std::move(values));
  } else if (time_bias) {
    add_floats(layer + "ssm_dt.bias", std::move(values));
  } else {
    std::ranges::for_each(values, [](float& value) { value += 1.0F; });
    add_floats(stem + part, std::move(values));
  }
  return true;
}

Result<void> HuggingFaceReader::read_tensors() {
  ASSIGN_OR_RETURN(const std::optional<mlx::Quantization> of_mlx, mlx::Quantization::read(config_));
  std::map<std::string, mlx::Matrix> matrices;
  Quantization quantization;
  if (!of_mlx) {
    ASSIGN_OR_RETURN(quantization, read_quantization(config_));
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> names, shard_names(folder_));
  const bool is_tied = embeddings_are_tied();
  ASSIGN_OR_RETURN(const std::optional<std::string_view> architecture,
                   out_.get_string("general.architecture"));
  const bool gemma = architecture == "gemma3";
  if (quantization.rotated) {
    set("tern.rotated_down_inputs", true);
  }
  OtherParts others;
  CompressedLayers compressed(quantization.kind == Quantization::Kind::kCompressed,
                              quantization.zeros_less_one);
  const bool may_be_compressed = !of_mlx && (quantization.kind == Quantization::Kind::kCompressed ||
                                             quantization.kind == Quantization::Kind::kNone);
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(MappedFile file, open_file(folder_ / name));
    ASSIGN_OR_RETURN(const std::vector<Entry> entries, safetensors::read(file));
    // The BitNet embedding models publish float weights, which their own code rounds, without a word of it in config.json.
    quantization.absmean |= quantization.kind == Quantization::Kind::kNone &&
                            std::ranges::any_of(entries, is_input_norm, &Entry::name);
    for (const Entry& entry : entries) {
      const size_t dot = entry.name.rfind('.');
      const std::string full = full_name(entry.name);
      if (is_left_out(entry.name)) {
        continue;
      }
      if (const std::string_view part = other_part(entry.name); !part.empty()) {
        others[part].push_back(entry.name);
        continue;
      }
      if (may_be_compressed && compressed.take(entry, full, static_cast<int>(out_.files_.size()))) {
        continue;
      }
      const std::string stem = gguf_stem(std::string_view(full).substr(0, full.rfind('.')), gemma);
      const std::string part = dot == std::string::npos ? "" : entry.name.substr(dot);
      const std::string where = file.path().string() + ": tensor " + printable(entry.name);
      if (part == ".weight_scale") {
        const Result<float> scale = number_of(entry);
        if (!scale) {
          return scale.error().in(where);
        }
        add_floats(stem + ".scale",
                   {quantization.kind == Quantization::Kind::kDivide ? 1.0F / *scale : *scale});
        continue;
      }
      if (of_mlx && is_mlx_part(part, entry)) {
        mlx::Matrix& matrix = matrices[entry.name.substr(0, dot)];
        std::optional<Entry>& place = part == ".weight"      ? matrix.weight
                                      : part == ".scales"    ? matrix.scales
                                      : part == ".row_alpha" ? matrix.row_alpha
                                                             : matrix.biases;
        if (place) {
          return Error{where + " occurs twice: the files do not belong together."};
        }
        place = entry;
        if (part == ".weight") {
          matrix.file = static_cast<int>(out_.files_.size());
        }
        continue;
      }
      if (is_tied && stem == "output") {
        continue;  // a copy of the embedding
      }
      if (const Result<bool> added = add_fused_experts(entry, full); !added) {
        return added.error().in(where);
      } else if (*added) {
        continue;
      }
      if (const Result<bool> added = add_changed(entry, stem, part); !added) {
        return added.error().in(where);
      } else if (*added) {
        continue;
      }
      Result<Tensor> tensor = tensor_of(entry, quantization);
      if (!tensor) {
        return tensor.error().in(where);
      }
      tensor->name = stem + part;
      tensor->file = static_cast<int>(out_.files_.size());
      if (out_.index_.contains(tensor->name)) {
        return Error{where + " occurs twice: the files do not belong together."};
      }
      add_tensor(std::move(*tensor));
    }
    out_.files_.push_back(std::move(file));
  }
  for (std::string& notice : notices_of(others)) {
    add_notice(std::move(notice));
  }
  if (quantization.kind == Quantization::Kind::kCompressed) {
    note_own_adapter();
  }
  if (quantization.balanced) {
    add_notice(
        "OneCompression's OneBit keeps the scales of balanced weights (use_balancing), which are "
        "not those of the model: it predicts badly wherever it runs, unless it was tuned "
        "afterwards");
  }
  if (const Result<void> added = compressed.finish(*this); !added) {
    return added.error().in(folder_.string());
  }
  choose_expert_formats();
  return of_mlx ? add_mlx(matrices, *of_mlx, is_tied, gemma) : Result<void>();
}

// OneCompression's own loader would add it.
void HuggingFaceReader::note_own_adapter() {
  const std::filesystem::path adapter = folder_ / "lora_adapter";
  std::error_code ignored;
  if (std::filesystem::exists(adapter / "adapter_config.json", ignored)) {
    add_notice("the folder has an adapter, which is not in use; --lora " +
               printable(adapter.string()) + " adds it");
  }
}

// The pooling that an embedding model's folder asks for, as sentence-transformers writes it, numbered as in GGUF files.
Result<void> HuggingFaceReader::read_pooling() {
  const std::filesystem::path path = folder_ / "1_Pooling" / "config.json";
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    return {};
  }
  ASSIGN_OR_RETURN(const Json pooling, read_json_file(path));
  ASSIGN_OR_RETURN(const std::optional<std::string_view> architecture,
                   out_.get_string("general.architecture"));
  int64_t number = 0;
  for (const char* mode :
       {"pooling_mode_mean_tokens", "pooling_mode_cls_token", "pooling_mode_lasttoken"}) {
    ++number;
    if (const auto found = pooling.find(mode);
        found != pooling.end() && found->is_boolean() && found->get<bool>()) {
      set(std::string(architecture.value_or("")) + ".pooling_type", number);
      return {};
    }
  }
  return Error{path.string() + ": expected pooling by mean, cls or last token, found another."};
}

Result<void> HuggingFaceReader::read() {
  ASSIGN_OR_RETURN(config_, read_json_file(folder_ / "config.json"));
  const auto translated = [&]() -> Result<void> {
    RETURN_IF_ERROR(translate_config(config_, *this));
    RETURN_IF_ERROR(read_pooling());
    return translate_tokenizer(folder_, config_, *this);
  }();
  if (!translated) {  // errors about one file name it with its folder
    return translated.error().message.starts_with(folder_.string())
               ? translated.error()
               : translated.error().in(folder_.string());
  }
  return read_tensors();
}

Result<TensorFile> HuggingFaceReader::open(const std::filesystem::path& path) {
  std::error_code ignored;
  HuggingFaceReader reader(std::filesystem::is_directory(path, ignored) ? path
                                                                        : path.parent_path());
  RETURN_IF_ERROR(reader.read());
  return std::move(reader.out_);
}

}  // namespace tern
