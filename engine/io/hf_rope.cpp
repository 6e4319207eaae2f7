#include "engine/io/hf_rope.h"

#include <algorithm>

#include "engine/io/tensor_file.h"

namespace tern {
namespace {

using Json = nlohmann::json;

constexpr const char* kFull = "full_attention";
constexpr const char* kWindowed = "sliding_attention";
constexpr const char* kOriginal = "original_max_position_embeddings";

// One place that says something, by its name in the file.
struct Source {
  std::string name;
  Json values = Json::object();
};

Error bad_value(const std::string& key, const std::string& what, const Json& found) {
  return Error{"config.json: key " + key + ": expected " + what + ", found " +
               printable(found.dump()) + "."};
}

// An object without its null values, in which "type", as older files call it, is "rope_type".
Result<Source> source_at(const Json& config, const std::string& prefix, const char* key) {
  Source out{prefix + key, Json::object()};
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) {
    return out;
  }
  if (!found->is_object()) {
    return bad_value(out.name, "an object", *found);
  }
  for (const auto& [name, value] : found->items()) {
    if (!value.is_null()) {
      out.values[name] = value;
    }
  }
  const auto type = out.values.find("type");
  if (type == out.values.end()) {
    return out;
  }
  if (out.values.contains("rope_type") && out.values["rope_type"] != *type) {
    return Error{"config.json: key " + out.name + ": rope_type is " +
                 printable(out.values["rope_type"].dump()) + " and type is " +
                 printable(type->dump()) + ": expected one of the two, or the same in both."};
  }
  out.values["rope_type"] = *type;
  out.values.erase("type");
  return out;
}

// The parameters of a kind of layers within others.
Result<Source> layers_at(const Source& in, const char* kind) {
  return source_at(in.values, in.name + ".", kind);
}

void set_default(Json& values, const char* key, const Json& value) {
  if (!values.contains(key)) {
    values[key] = value;
  }
}

void add_missing(Json& values, const Source& source) {
  for (const auto& [key, value] : source.values.items()) {
    set_default(values, key.c_str(), value);
  }
}

// The base where a file does not say one: that of transformers' configuration of the architecture.
double default_base(std::string_view architecture) {
  return architecture == "bitnet-b1.58" ? 500'000.0 : architecture == "gemma3" ? 1e6 : 1e4;
}

// What a place says must be what counts.
Result<void> check_agreement(const Source& source, const Json& counts, const char* of) {
  for (const auto& [key, value] : source.values.items()) {
    if (key == kFull || key == kWindowed || value.is_null()) {
      continue;
    }
    const auto found = counts.find(key);
    const bool plain = key == "rope_type" && value == "default" && found == counts.end();
    if (!plain && (found == counts.end() || *found != value)) {
      const std::string name = source.name.empty() ? key : source.name + "." + key;
      return Error{"config.json: key " + name + " is " + printable(value.dump()) + ", but " + key +
                   " is " + (found == counts.end() ? "not set" : printable(found->dump())) +
                   " in what transformers reads for " + of +
                   ": the file contradicts itself, and one of the two would run the model wrongly. "
                   "Remove the wrong one (the model's page or its author knows which)."};
    }
  }
  return {};
}

// Keys beside the objects that belong into them.
Source outer_keys(const Json& config,
                  std::initializer_list<std::pair<const char*, const char*>> keys) {
  Source out;
  for (const auto& [theirs, ours] : keys) {
    if (const auto found = config.find(theirs); found != config.end() && !found->is_null()) {
      out.values[ours] = *found;
    }
  }
  return out;
}

// A set for a kind of layers that the model does not have is passed over by transformers, and the model then turns by
// other numbers than it shows.
Result<void> check_declared(const Json& config, const Source& source, const char* kind) {
  const Json types = config.value("layer_types", Json::array());
  const bool declared =
      types.is_array() && std::find(types.begin(), types.end(), kind) != types.end();
  if (source.values.contains(kind) && !declared) {
    return bad_value(source.name + "." + kind,
                     std::string("layer_types to name ") + kind +
                         ", without which transformers does not read these parameters",
                     types);
  }
  return {};
}

Result<HfRope> read_gemma(const Json& config, const Source& parameters, const Source& older) {
  ASSIGN_OR_RETURN(const Source full, layers_at(parameters, kFull));
  ASSIGN_OR_RETURN(const Source windowed, layers_at(parameters, kWindowed));
  const Source outer = outer_keys(config, {{"rope_theta", "rope_theta"}});
  const Source share = outer_keys(config, {{"partial_rotary_factor", "partial_rotary_factor"}});
  const Source local = outer_keys(config, {{"rope_local_base_freq", "rope_theta"}});
  HfRope out{full.values, windowed.values};
  out.full.update(older.values);
  add_missing(out.full, outer);
  add_missing(out.full, share);
  add_missing(out.windowed, share);
  set_default(out.full, "rope_theta", default_base("gemma3"));
  set_default(out.full, "rope_type", "default");
  add_missing(out.windowed, local);
  set_default(out.windowed, "rope_theta", 10'000.0);
  set_default(out.windowed, "rope_type", "default");
  for (const Source* source : {&parameters, &older, &full, &outer, &share}) {
    RETURN_IF_ERROR(check_agreement(*source, out.full, "layers without a window"));
  }
  for (const Source* source : {&local, &share}) {
    RETURN_IF_ERROR(check_agreement(*source, out.windowed, "layers with a window"));
  }
  return out;
}

}  // namespace

Result<HfRope> read_hf_rope(const Json& config, std::string_view architecture) {
  ASSIGN_OR_RETURN(const Source parameters, source_at(config, "", "rope_parameters"));
  ASSIGN_OR_RETURN(const Source older, source_at(config, "", "rope_scaling"));
  if (architecture == "gemma3") {
    return read_gemma(config, parameters, older);
  }
  const Source& chosen = older.values.empty() ? parameters : older;
  ASSIGN_OR_RETURN(const Source full, layers_at(chosen, kFull));
  ASSIGN_OR_RETURN(const Source windowed, layers_at(chosen, kWindowed));
  for (const char* kind : {kFull, kWindowed}) {
    RETURN_IF_ERROR(check_declared(config, chosen, kind));
  }
  // Layers of one kind alone turn here (Cohere's and Maple's without a window do not), so that both sets are one.
  const Source& set = !full.values.empty() ? full : !windowed.values.empty() ? windowed : chosen;
  HfRope out{set.values, {}};
  const Source outer = outer_keys(config, {{"rope_theta", "rope_theta"},
                                           {"partial_rotary_factor", "partial_rotary_factor"},
                                           {kOriginal, kOriginal}});
  add_missing(out.full, outer);
  set_default(out.full, "rope_theta", default_base(architecture));
  set_default(out.full, "rope_type", "default");
  for (const Source* source : {&parameters, &older, &full, &windowed, &outer}) {
    RETURN_IF_ERROR(check_agreement(*source, out.full, "this model"));
  }
  return out;
}

}  // namespace tern
