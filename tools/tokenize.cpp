// tern tokenize: a text's tokens, as the model sees them.

#include <cstdio>

#include "engine/io/tensor_file.h"
#include "engine/model/text_start.h"
#include "tools/cli.h"
#include "tools/model_store.h"
#include "tools/text_input.h"
#include "tools/tokenize_report.h"

namespace tern::cli {
namespace {

struct TokenizeOptions {
  std::string model;
  std::string text;
  std::string file;
  bool ids = false, json = false, no_bos = false, no_parse_special = false;
};

Result<std::string> text_of(const TokenizeOptions& options, bool given) {
  if (!options.file.empty()) {
    if (given) {
      return Error{"Expected a text or -f FILE, found both."};
    }
    return read_text_input(options.file);
  }
  if (options.text == "-" || (!given && !stdin_is_terminal())) {
    return read_text_input("-");
  }
  if (!given) {
    return Error{"Expected a text: give one as an argument, with -f FILE or through a pipe."};
  }
  return options.text;
}

Result<void> print_tokens(const TokenizeOptions& options, bool given) {
  ASSIGN_OR_RETURN(std::string path, resolve_model(options.model));
  if (path.empty()) {
    ASSIGN_OR_RETURN(path, default_model_path());
  }
  ASSIGN_OR_RETURN(const TensorFile file, TensorFile::open(path));
  ASSIGN_OR_RETURN(const Tokenizer tokenizer, Tokenizer::from_file(file));
  for (const std::string& notice : tokenizer.notices()) {
    print_notice(notice);
  }
  ASSIGN_OR_RETURN(const std::string text, text_of(options, given));
  const bool parsed = !options.no_bos && !options.no_parse_special;
  const std::string_view start = parsed ? text_start(tokenizer) : std::string_view();
  const std::string_view rest = without_start(text, start);
  if (rest.size() < text.size()) {
    print_notice("a text of this model begins with " + std::string(start) +
                 " anyway: the one that you wrote is left out (--no-bos keeps it).");
  }
  const auto ids = tokenizer.encode(
      rest, {.add_special = !options.no_bos, .parse_special = !options.no_parse_special});
  const TokenStyle style = options.json  ? TokenStyle::kJson
                           : options.ids ? TokenStyle::kIds
                                         : TokenStyle::kPieces;
  const std::string report = tokenize_report(tokenizer, ids, style);
  if (options.json) {
    print_json_text(report);
  } else {
    print_report(report);
  }
  return {};
}

}  // namespace

Action declare_tokenize(CLI::App& app) {
  const auto options = std::make_shared<TokenizeOptions>();
  app.add_option("-m,--model", options->model,
                 "Model file (GGUF); default: TERN_MODEL, else the model that comes with Tern")
      ->type_name("FILE");
  const CLI::Option* text =
      app.add_option("text", options->text, "The text; - reads it from standard input");
  app.add_option("-f,--file", options->file, "Read the text from a file")->type_name("FILE");
  CLI::Option* ids = app.add_flag("--ids", options->ids, "Print the ids only, on one line");
  app.add_flag("--json", options->json, "Print one JSON array of ids and pieces")->excludes(ids);
  app.add_flag("--no-bos", options->no_bos, "Leave out the tokens that begin and end a text");
  app.add_flag("--no-parse-special", options->no_parse_special,
               "Take the names of special tokens in the text as text");
  return [options, text] { return print_tokens(*options, text->count() > 0); };
}

}  // namespace tern::cli
