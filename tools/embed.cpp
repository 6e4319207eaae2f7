// tern embed: texts as vectors.

#include <bit>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "engine/base/input_file.h"
#include "engine/session/embedder.h"
#include "remote/plain_line.h"
#include "tools/cli.h"
#include "tools/embed_remote.h"
#include "tools/text_input.h"

namespace tern::cli {
namespace {

static_assert(std::endian::native == std::endian::little, "--output f32 is little-endian");

struct EmbedOptions {
  ModelOptions model;
  RemoteOptions remote;
  std::vector<std::string> texts;
  std::string file;
  std::string pooling;  // empty: as the model's file says
  std::string output = "json";
  int context = 0;
  bool no_normalize = false;
};

// Each line a text; the last need not end.
std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    if (line.ends_with('\r')) {
      line.pop_back();
    }
    lines.push_back(std::move(line));
    begin = end + 1;
  }
  return lines;
}

Result<std::vector<std::string>> texts_of(const EmbedOptions& options) {
  if (!options.file.empty()) {
    if (!options.texts.empty()) {
      return Error{"Expected texts or -f FILE, found both."};
    }
    ASSIGN_OR_RETURN(const std::string text, read_text_input(options.file));
    return lines_of(text);
  }
  const bool from_pipe = options.texts.empty() && !stdin_is_terminal();
  if (from_pipe || (options.texts.size() == 1 && options.texts[0] == "-")) {
    ASSIGN_OR_RETURN(const std::string text, read_text_input("-"));
    return lines_of(text);
  }
  return options.texts;
}

// What was asked for, else what the file says, else the last token's.
Result<Pooling> choose_pooling(const EmbedOptions& options, const Model& model) {
  if (!options.pooling.empty()) {
    return options.pooling == "mean"  ? Pooling::kMean
           : options.pooling == "cls" ? Pooling::kFirst
                                      : Pooling::kLast;
  }
  ASSIGN_OR_RETURN(const std::optional<Pooling> pooling, pooling_of(model));
  if (!pooling) {
    print_message_f(
        "note: the model's file names no pooling, so it may not be made for embeddings; "
        "taking the last token's output (--pooling)\n");
  } else if (model.config().input_norms && *pooling == Pooling::kMean) {
    print_message_f(
        "note: the model's file says mean pooling, which gives the vector that the "
        "publisher of bitnet-embedding prints, though its guide speaks of the last "
        "token's: --pooling last\n");
  }
  return pooling.value_or(Pooling::kLast);
}

nlohmann::ordered_json entry_of(size_t index, std::span<const float> vector) {
  nlohmann::ordered_json numbers = nlohmann::ordered_json::array();
  for (const float value : vector) {
    numbers.push_back(value);
  }
  return {{"object", "embedding"}, {"index", index}, {"embedding", std::move(numbers)}};
}

// As OpenAI's API and llama-embedding's --embd-output-format json write them.
void print_json(const std::string& model, nlohmann::ordered_json entries, int64_t tokens) {
  const nlohmann::ordered_json json = {
      {"object", "list"},
      {"data", std::move(entries)},
      {"model", model},
      {"usage", {{"prompt_tokens", tokens}, {"total_tokens", tokens}}}};
  const std::string text =
      json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  print_json_text(text + "\n");
}

void scale_to_one(std::vector<float>& vector) {
  double sum = 0;
  for (const float value : vector) {
    sum += double{value} * double{value};
  }
  const double length = std::sqrt(sum);
  for (float& value : vector) {
    value = length > 0 ? static_cast<float>(double{value} / length) : value;
  }
}

void print_foreign(const EmbedOptions& options, ForeignEmbeddings foreign) {
  nlohmann::ordered_json entries = nlohmann::ordered_json::array();
  for (size_t i = 0; i < foreign.vectors.size(); ++i) {
    std::vector<float>& vector = foreign.vectors[i];
    if (!options.no_normalize) {
      scale_to_one(vector);
    }
    if (options.output == "json") {
      entries.push_back(entry_of(i, vector));
    } else {
      print_data({reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float)});
    }
  }
  if (options.output == "json") {
    print_json(foreign.model, std::move(entries), foreign.tokens);
  }
  print_message_f("%s %s: %zu x %zu\n", foreign.provider.c_str(),
                  plain_line(foreign.model, 100).c_str(), foreign.vectors.size(),
                  foreign.vectors.front().size());
}

Result<void> embed_texts(EmbedOptions options) {
  ASSIGN_OR_RETURN(const std::vector<std::string> texts, texts_of(options));
  if (texts.empty()) {
    return Error{
        "Expected a text: give one or more as arguments, or one a line with -f FILE or through a "
        "pipe."};
  }
  ASSIGN_OR_RETURN(std::optional<ForeignEmbeddings> foreign,
                   embed_elsewhere(options.remote, options.model.path, texts));
  if (foreign) {
    if (!options.pooling.empty()) {
      print_notice("--pooling is for models of this machine: a provider's model has its own.");
    }
    print_foreign(options, std::move(*foreign));
    return {};
  }
  ASSIGN_OR_RETURN(const LoadedModel loaded, load_model(options.model));
  const Model& model = *loaded.model;
  ASSIGN_OR_RETURN(const Pooling pooling, choose_pooling(options, model));
  ASSIGN_OR_RETURN(Session session, create_session(loaded, options.context));
  Embedder embedder(std::move(session), pooling, !options.no_normalize);
  nlohmann::ordered_json entries = nlohmann::ordered_json::array();
  std::vector<float> raw;  // all of them, so that a text that is too long leaves no half output
  size_t tokens = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    // A text's own mention of a special token is text.
    const std::vector<TokenId> ids =
        model.tokenizer().encode(texts[i], {.add_special = true, .parse_special = false});
    const Result<std::span<const float>> vector = embedder.embed(ids);
    if (!vector) {
      return vector.error().in("text " + std::to_string(i + 1));
    }
    tokens += ids.size();
    if (options.output == "json") {
      entries.push_back(entry_of(i, *vector));
    } else {
      raw.insert(raw.end(), vector->begin(), vector->end());
    }
  }
  if (options.output == "json") {
    print_json(model.config().name, std::move(entries), static_cast<int64_t>(tokens));
  } else {
    print_data({reinterpret_cast<const char*>(raw.data()), raw.size() * sizeof(float)});
    print_message_f("%zu x %d float32\n", texts.size(), model.config().width);
  }
  return {};
}

}  // namespace

Action declare_embed(CLI::App& app) {
  const auto options = std::make_shared<EmbedOptions>();
  options->model.head_type = "keep";  // no logits are computed: nothing is made ready for them
  options->model.declare(app);
  app.add_option("text", options->texts,
                 "The texts; - or none reads them from standard input, one a line");
  app.add_option("-f,--file", options->file, "Read the texts from a file, one a line")
      ->type_name("FILE");
  app.add_option("--pooling", options->pooling,
                 "Which outputs make the vector; default: as the model's file says, else last")
      ->check(CLI::IsMember({"last", "mean", "cls"}));
  app.add_flag("--no-normalize", options->no_normalize, "Leave vectors at the length they have");
  app.add_option("--output", options->output,
                 "json, or f32: raw little-endian float32, one vector after another")
      ->check(CLI::IsMember({"json", "f32"}));
  declare_context(app, options->context);
  options->remote.declare(app);
  return [options] { return embed_texts(*options); };
}

}  // namespace tern::cli
