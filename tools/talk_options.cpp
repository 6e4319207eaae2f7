#include "tools/talk_options.h"

#include <cctype>
#include <filesystem>

#include "tools/model_store.h"
#include "tools/option_group.h"
#include "tools/text_input.h"
#include "tools/word_wrap.h"

namespace tern::cli {
namespace {

constexpr size_t kMostText = size_t{64}
                             << 20;  // bytes of a prompt; the longest context holds far fewer

// Whether a folder holds a model: a plain word may well be the name of some other folder.
bool is_model_folder(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path / "config.json", ignored);
}

// Whether a word without an option names a model and is no prompt.
bool names_model(const std::string& word) {
  if (word.ends_with(".gguf") || is_model_folder(word)) {
    return true;
  }
  if (word.find_first_of(" \t\n") != std::string::npos) {
    return false;
  }
  const Result<std::vector<CatalogModel>> catalog = load_catalog();
  const std::vector<CatalogModel> none;
  const std::vector<CatalogModel>& known = catalog ? *catalog : none;
  return find_in_catalog(known, word) != nullptr || !find_stored(ModelStore(), word, known).empty();
}

int hex_digit(char c) {
  const auto letter = static_cast<unsigned char>(c);
  if (std::isdigit(letter) != 0) {
    return c - '0';
  }
  return std::isxdigit(letter) != 0 ? std::tolower(letter) - 'a' + 10 : -1;
}

}  // namespace

std::string without_escapes(std::string_view text) {
  constexpr std::string_view kLetters = "ntr\\'\"";
  constexpr std::string_view kMeant = "\n\t\r\\'\"";
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    const char next = text[i] == '\\' && i + 1 < text.size() ? text[i + 1] : '\0';
    if (const size_t at = kLetters.find(next); next != '\0' && at != std::string_view::npos) {
      plain += kMeant[at];
      ++i;
    } else if (next == 'x' && i + 3 < text.size() && hex_digit(text[i + 2]) >= 0 &&
               hex_digit(text[i + 3]) >= 0) {
      plain += static_cast<char>(hex_digit(text[i + 2]) * 16 + hex_digit(text[i + 3]));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

void TalkOptions::declare(CLI::App& app) {
  {
    const OptionGroup group(app, "Prompt");
    app.add_option(
           "prompt", words,
           "The prompt (also -p TEXT); - reads it from standard input. A model may be named "
           "before it instead of with -m")
        ->type_name("TEXT");
    app.add_option("-f,--file", file, "Read the prompt from a file; - is standard input")
        ->type_name("FILE");
    app.add_option("--system", system, "System message (also -sys)")->type_name("TEXT");
    app.add_option("--system-file", system_file, "Read the system message from a file")
        ->type_name("FILE");
    app.add_flag("-e,--escape", escape, "In the prompt, read \\n as a line end, \\t as a tab, ...");
    declare_chat_template(app, model);
    app.add_option("--chat-template-file", template_file, "A file with a Jinja template")
        ->type_name("FILE");
    app.add_flag("--verbose-prompt", verbose_prompt,
                 "Print what the model reads, token by token, on standard error");
    app.add_flag("!--no-wrap,!--nowordwrap", wrap,
                 "Do not break lines between words at the edge of a terminal");
  }
  {
    const OptionGroup group(app, "Model and computation");
    model.declare(app);
    declare_context(app, context);
  }
  {
    const OptionGroup group(app, "Choice of tokens");
    sampling.declare(app);
  }
  {
    const OptionGroup group(app, "Guessing ahead");
    speculation.declare(app);
  }
  {
    const OptionGroup group(app, "Other providers");
    remote.declare(app);
  }
}

Result<void> TalkOptions::take_model() {
  if (!model.path.empty() || words.empty() || !names_model(words.front())) {
    if (words.size() > 1) {
      std::string others;
      for (size_t i = 1; i < words.size(); ++i) {
        others += (i == 1 ? "" : " ") + words[i];
      }
      return Error{"Expected one prompt, found also: " + others +
                   ". Put the prompt in quotes; a model is named with -m, or first."};
    }
    return {};
  }
  model.path = words.front();
  words.erase(words.begin());
  // As `ollama run MODEL why is the sky blue` reads its words.
  std::string joined;
  for (const std::string& word : words) {
    joined += (joined.empty() ? "" : " ") + word;
  }
  words.clear();
  if (!joined.empty()) {
    words.push_back(std::move(joined));
  }
  return {};
}

Result<void> TalkOptions::read_system() {
  if (system_file.empty()) {
    return {};
  }
  if (!system.empty()) {
    return Error{"Expected --system TEXT or --system-file FILE, found both."};
  }
  ASSIGN_OR_RETURN(std::string text, read_text_input(system_file, kMostText));
  system = without_last_newline(std::move(text));
  return {};
}

Result<void> TalkOptions::settle() {
  RETURN_IF_ERROR(take_model());
  RETURN_IF_ERROR(read_system());
  if (!template_file.empty()) {
    if (!model.chat_template.empty()) {
      return Error{"Expected --chat-template or --chat-template-file, found both."};
    }
    ASSIGN_OR_RETURN(model.chat_template, read_template_file(template_file));
  }
  return {};
}

size_t TalkOptions::columns() const {
  return wrap ? terminal_columns() : 0;
}

Result<std::optional<std::string>> TalkOptions::prompt(bool pipe) const {
  if (!file.empty() && !words.empty()) {
    return Error{"Expected a prompt or -f FILE, found both."};
  }
  const bool stream = (!words.empty() && words.front() == "-") || (words.empty() && pipe);
  if (!file.empty() || stream) {
    ASSIGN_OR_RETURN(std::string text, read_text_input(file.empty() ? "-" : file, kMostText));
    return std::optional(without_last_newline(std::move(text)));
  }
  if (words.empty()) {
    return std::optional<std::string>();
  }
  return std::optional(escape ? without_escapes(words.front()) : words.front());
}

}  // namespace tern::cli
