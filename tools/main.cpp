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
    {"batch", "Answer many requests from a file, here or elsewhere", declare_batch},
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

// Whether the output is to be JSON, so that an error is JSON too.
bool wants_json(const CLI::App& app) {
  for (const CLI::Option* option : app.get_options()) {
    const bool format = option->get_type_name() == "FORMAT" && option->count() > 0 &&
                        option->as<std::string>().starts_with("json");
    if (format || (option->check_lname("json") && option->count() > 0)) {
      return true;
    }
  }
  const auto subcommands = app.get_subcommands();
  return std::ranges::any_of(subcommands, [](const CLI::App* sub) { return wants_json(*sub); });
}

// The same of arguments that could not be understood.
bool mentions_json(int argc, char** argv) {
  return std::any_of(argv, argv + argc,
                     [](const char* each) { return each == std::string("--json"); });
}

int run_tern(int argc, char** argv) {
  CLI::App app("Tern runs ternary language models on the CPU.", "tern");
  app.set_version_flag("--version", std::string("tern ") + kVersion);
  app.footer(exit_code_help());
  app.option_defaults()->take_last();  // so that what an alias of the shell gives can be overridden
  std::string refused;
  app.failure_message([&refused](const CLI::App* at, const CLI::Error& error) {
    refused = CLI::FailureMessage::simple(at, error);
    return std::string();
  });
  Action chosen;
  for (const Command& command : kCommands) {
    CLI::App* sub = app.add_subcommand(command.name, command.summary);
    sub->callback([&chosen, action = command.declare(*sub)] { chosen = action; });
  }
  add_help(app);
  Result<Arguments> arguments = read_arguments(app, {argv + 1, argv + argc});
  if (!arguments) {
    return finish(Failure{arguments.error().message}, mentions_json(argc, argv));
  }
  for (const std::string& note : arguments->notes) {
    print_notice(note);
  }
  try {
    std::ranges::reverse(arguments->words);  // CLI11 takes them from the end
    app.parse(std::move(arguments->words));
  } catch (const CLI::ParseError& error) {
    std::ostringstream help;
    std::ostringstream unused;
    const bool good = app.exit(error, help, unused) == 0;
    print_data(help.str());
    while (refused.ends_with('\n')) {
      refused.pop_back();
    }
    return good ? finish({}, false) : finish(Failure{refused}, mentions_json(argc, argv));
  }
  const bool json = wants_json(app);
  try {
    return finish(chosen(), json);
  } catch (const std::bad_alloc&) {
    return finish(Failure{"out of memory. Use a smaller model or a shorter context (-c).",
                          FailureKind::kMachine},
                  json);
  }
}

}  // namespace
}  // namespace tern::cli

int main(int argc, char** argv) {
  tern::cli::claim_standard_streams();
  tern::cli::prepare_endings();
  try {
    return tern::cli::run_tern(argc, argv);
  } catch (const std::exception& error) {
    tern::cli::print_error(error.what());
  }
  return 1;
}
