// tern: the command line. Each command is a file of its own; this one lists them and turns errors into exit codes.

#include <algorithm>
#include <exception>
#include <new>
#include <sstream>

#include "tools/arguments.h"
#include "tools/cli.h"
#include "tools/help.h"
#include "tools/version.h"

namespace tern::cli {
namespace {

constexpr Command kCommands[] = {
    {"bench", "Measure speed, beside what the machine allows", declare_bench},
    {"run", "Complete a prompt", declare_run},
    {"chat", "Hold a conversation", declare_chat},
    {"convert", "Write a model as a GGUF file of another weight type", declare_convert},
    {"cost", "Show what other providers cost, and would", declare_cost},
    {"doctor", "Show what this machine can do and test its kernels", declare_doctor},
    {"embed", "Turn texts into vectors", declare_embed},
    {"eval", "Measure a benchmark by likelihood", declare_eval},
    {"inspect", "Describe a model file and the memory it needs", declare_inspect},
    {"list", "List the models that have been downloaded, or can be", declare_list},
    {"logits", "Write the raw logits of given tokens", declare_logits},
    {"perplexity", "Measure perplexity on a text", declare_perplexity},
    {"pull", "Download a model", declare_pull},
    {"remote", "Look after other providers: keys, models, state", declare_remote},
    {"rm", "Remove a downloaded model", declare_rm},
    {"route", "Show who would be asked, and why; sends nothing", declare_route},
    {"synth", "Write a model of a real shape with random weights", declare_synth},
    {"tokenize", "Show the tokens of a text", declare_tokenize},
    {"tune", "Measure which kernels and thread counts are fastest here", declare_tune},
};

constexpr int kBadInput = 2;

int run_tern(int argc, char** argv) {
  CLI::App app("Tern runs ternary language models on the CPU.", "tern");
  app.set_version_flag("--version", std::string("tern ") + kVersion);
  app.option_defaults()->take_last();  // so that what an alias of the shell gives can be overridden
  app.failure_message([](const CLI::App* at, const CLI::Error& error) {
    return "error: " + CLI::FailureMessage::simple(at, error);
  });
  Action chosen;
  for (const Command& command : kCommands) {
    CLI::App* sub = app.add_subcommand(command.name, command.summary);
    sub->callback([&chosen, action = command.declare(*sub)] { chosen = action; });
  }
  bool good = true;
  add_help(app);
  Result<Arguments> arguments = read_arguments(app, {argv + 1, argv + argc});
  if (!arguments) {
    print_error(arguments.error().message);
    return kBadInput;
  }
  for (const std::string& note : arguments->notes) {
    print_notice(note);
  }
  try {
    std::ranges::reverse(arguments->words);  // CLI11 takes them from the end
    app.parse(std::move(arguments->words));
  } catch (const CLI::ParseError& error) {
    std::ostringstream help;
    std::ostringstream messages;
    good = app.exit(error, help, messages) == 0;
    print_data(help.str());
    print_message_f("%s", messages.str().c_str());
    chosen = [] { return Result<void>(); };
  }
  Result<void> done = chosen();
  if (done) {
    done = flush_stdout();
  }
  if (!done) {
    print_error(done.error().message);
  }
  return good && done ? 0 : kBadInput;
}

}  // namespace
}  // namespace tern::cli

int main(int argc, char** argv) {
  tern::cli::claim_standard_streams();
  try {
    return tern::cli::run_tern(argc, argv);
  } catch (const std::bad_alloc&) {
    tern::cli::print_error("out of memory. Use a smaller model or a shorter context (-c).");
  } catch (const std::exception& error) {
    tern::cli::print_error(error.what());
  }
  return 1;
}
