// The chat templates of a Hugging Face folder, which may lie in four places.

#include <algorithm>
#include <map>
#include <vector>

#include "engine/base/file.h"
#include "engine/io/file_kind.h"
#include "engine/io/hf_tokenizer_files.h"
#include "engine/io/hugging_face.h"

namespace tern {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr size_t kLongestTemplate = size_t{1} << 20U;
constexpr size_t kMostTemplates = 64;
constexpr const char* kDefault = "default";
constexpr const char* kAdditional = "additional_chat_templates";

// A template that was found, and where.
struct Found {
  std::string name = kDefault;
  std::string text;
  std::string place;
};

Result<std::string> read_template(const fs::path& path) {
  ASSIGN_OR_RETURN(std::string text, read_text_file(path, kLongestTemplate));
  if (const auto checked = refuse_wrong_kind_of_text(text, "a chat template"); !checked) {
    return checked.error().in(path.string());
  }
  return text;
}

std::string string_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// A text; a list of {name, template}; or an object of names and texts.
Result<void> add_of_json(const Json& value, const std::string& place, std::vector<Found>& out) {
  if (value.is_null()) {
    return {};
  }
  if (value.is_string()) {
    out.push_back({kDefault, value.get<std::string>(), place});
    return {};
  }
  const bool named_texts = value.is_object() && std::ranges::all_of(value, [](const Json& text) {
                             return text.is_string();
                           });
  const bool list = value.is_array() && std::ranges::all_of(value, [](const Json& each) {
                      return !string_at(each, "name").empty() && each.contains("template");
                    });
  if ((!named_texts && !list) || value.size() > kMostTemplates) {
    return Error{place + ": expected a text, or texts with names, found " +
                 printable(value.dump(-1, ' ', false, Json::error_handler_t::replace)) + "."};
  }
  if (named_texts) {
    for (const auto& [name, text] : value.items()) {
      out.push_back({name, text.get<std::string>(), place});
    }
  }
  for (size_t i = 0; list && i < value.size(); ++i) {
    out.push_back({string_at(value[i], "name"), string_at(value[i], "template"), place});
  }
  return {};
}

Result<void> add_of_folder(const fs::path& folder, std::vector<Found>& out) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() == ".jinja" && paths.size() < kMostTemplates) {
      paths.push_back(entry->path());
    }
  }
  std::ranges::sort(paths);
  for (const fs::path& path : paths) {
    ASSIGN_OR_RETURN(std::string text, read_template(path));
    out.push_back({path.stem().string(), std::move(text),
                   std::string(kAdditional) + "/" + path.filename().string()});
  }
  return {};
}

// In the order in which they count. transformers' tokenizers read chat_template.jinja, and what tokenizer_config.json
// says only without it; chat_template.json is what its processors, for models that see, wrote before.
Result<std::vector<Found>> find_templates(const fs::path& folder, const Json& config) {
  std::vector<Found> out;
  std::error_code ignored;
  if (const fs::path path = folder / "chat_template.jinja"; fs::exists(path, ignored)) {
    ASSIGN_OR_RETURN(std::string text, read_template(path));
    out.push_back({kDefault, std::move(text), "chat_template.jinja"});
  }
  RETURN_IF_ERROR(add_of_folder(folder / kAdditional, out));
  RETURN_IF_ERROR(add_of_json(config.value("chat_template", Json()),
                              "tokenizer_config.json: key chat_template", out));
  ASSIGN_OR_RETURN(const Json legacy, read_json_if_there(folder / "chat_template.json"));
  RETURN_IF_ERROR(add_of_json(legacy.value("chat_template", Json()),
                              "chat_template.json: key chat_template", out));
  std::erase_if(out, [](const Found& found) { return found.text.empty(); });
  return out;
}

}  // namespace

Result<void> translate_chat_templates(const fs::path& folder, const Json& config,
                                      HuggingFaceReader& out) {
  ASSIGN_OR_RETURN(const std::vector<Found> all, find_templates(folder, config));
  std::map<std::string, const Found*> chosen;
  for (const Found& found : all) {
    const auto [place, is_new] = chosen.emplace(found.name, &found);
    if (!is_new && place->second->text != found.text) {
      out.add_notice("the chat template of " + printable(found.place) + " is not in use: that of " +
                     printable(place->second->place) + " counts, and differs from it");
    }
  }
  // A single one serves whatever its name is.
  const auto usual = chosen.size() == 1 ? chosen.begin() : chosen.find(kDefault);
  std::vector<std::string_view> others;
  for (const auto& [name, found] : chosen) {
    if (usual != chosen.end() && found == usual->second) {
      out.set("tokenizer.chat_template", out.keep(found->text));
      continue;
    }
    // As GGUF files carry them.
    others.push_back(out.keep(name));
    out.set("tokenizer.chat_template." + name, out.keep(found->text));
  }
  if (!others.empty()) {
    out.set("tokenizer.chat_templates", MetaArray(std::move(others)));
  }
  return {};
}

}  // namespace tern
