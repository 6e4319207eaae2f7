#include "tools/help.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>

namespace tern::cli {
namespace {

constexpr size_t kColumn = 30;  // where descriptions begin

struct Examples {
  const char* command;
  const char* lines;
};

constexpr Examples kExamples[] = {
    {"run",
     "  tern run \"Once upon a time\"\n"
     "  tern run -m model.gguf -n 200 --temp 0.7 \"Why is the sky blue?\"\n"
     "  git diff | tern run -m model.gguf --system \"Explain this change.\"\n"
     "  tern run -m model.gguf -f prompt.txt --json"},
    {"chat",
     "  tern chat -m model.gguf --system \"Answer briefly.\"\n"
     "  tern chat -m model.gguf -c 4096 -p \"Hello\""},
    {"batch",
     "  tern batch requests.jsonl answers.jsonl -m model.gguf\n"
     "  tern batch requests.jsonl answers.jsonl --route holysheep --allow-remote --parallel 8"},
    {"bench",
     "  tern bench -m a.gguf,b.gguf -p 512 -n 128\n"
     "  tern bench -m a.gguf -t 1,2,4 -o json"},
    {"convert",
     "  tern convert folder/ model.gguf --type tq2_0\n"
     "  tern convert model.gguf fast.gguf --type tern"},
    {"embed",
     "  tern embed -m embedding.gguf \"a dog\" \"a cat\"\n"
     "  tern embed -m embedding.gguf -f texts.txt --output f32 > vectors.f32"},
    {"eval", "  tern eval -m model.gguf --task arc_easy -f items.jsonl"},
    {"inspect", "  tern inspect model.gguf\n  tern inspect model.gguf -c 8192"},
    {"logits", "  tern logits -m model.gguf --tokens 1,2,3 -o logits.f32"},
    {"perplexity",
     "  tern perplexity -m model.gguf -f wiki.test.raw\n"
     "  tern perplexity -m a.gguf -f text --save-logits a.logits\n"
     "  tern perplexity -m b.gguf -f text --kl a.logits"},
    {"pull", "  tern pull bitnet-2b-4t\n  tern pull OWNER/NAME:FILE.gguf"},
    {"list", "  tern list\n  tern list --all"},
    {"rm", "  tern rm bitnet-2b-4t"},
    {"remote", "  tern remote check-key\n  tern remote models --provider holysheep"},
    {"route", "  tern route --route auto --allow-remote \"Why is the sky blue?\""},
    {"cost", "  tern cost --since 7d --by model\n  tern cost --plan --tokens 10M"},
    {"synth", "  tern synth --shape bitnet-2b-4t -o random.gguf"},
    {"tokenize",
     "  tern tokenize -m model.gguf \"Once upon a time\"\n  tern tokenize -m model.gguf --ids -f "
     "text"},
    {"tune", "  tern tune\n  tern tune -m model.gguf"},
    {"doctor", "  tern doctor\n  tern doctor -m model.gguf"},
};

size_t terminal_width() {
  struct winsize size {};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
    return 100;
  }
  return std::clamp<size_t>(size.ws_col, kColumn + 20, 120);
}

class Formatter : public CLI::Formatter {
 public:
  Formatter() {
    label("SUBCOMMAND", "COMMAND");
    label("Subcommands", "Commands");
    label("Positionals", "Words");
  }

  std::string make_option(const CLI::Option* option, bool is_positional) const override {
    return entry(make_option_name(option, is_positional) + make_option_opts(option),
                 make_option_desc(option));
  }

  std::string make_subcommand(const CLI::App* command) const override {
    return entry(command->get_name(), command->get_description());
  }

 private:
  static std::string entry(const std::string& name, const std::string& description) {
    std::string text = "  " + name;
    text += text.size() + 2 > kColumn ? "\n" + std::string(kColumn, ' ')
                                      : std::string(kColumn - text.size(), ' ');
    return text + wrapped(description, terminal_width() - kColumn, kColumn) + "\n";
  }
};

}  // namespace

std::string wrapped(std::string_view text, size_t width, size_t indent) {
  std::istringstream words{std::string(text)};
  std::string lines;
  size_t column = 0;
  for (std::string word; words >> word;) {
    if (column > 0 && column + 1 + word.size() > width) {
      lines += "\n" + std::string(indent, ' ');
      column = 0;
    }
    lines += (column > 0 ? " " : "") + word;
    column += word.size() + (column > 0 ? 1 : 0);
  }
  return lines;
}

void add_help(CLI::App& app) {
  const auto formatter = std::make_shared<Formatter>();
  app.formatter(formatter);
  for (CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    command->formatter(formatter);
    for (const Examples& each : kExamples) {
      if (command->get_name() == each.command) {
        command->footer(std::string("Examples:\n") + each.lines);
      }
    }
    for (CLI::App* part : command->get_subcommands([](const CLI::App*) { return true; })) {
      part->formatter(formatter);
    }
  }
}

}  // namespace tern::cli
