// tern run: complete a prompt.

#include <cstdio>
#include <nlohmann/json.hpp>

#include "engine/base/memory.h"
#include "engine/session/local_completer.h"
#include "tools/cli.h"
#include "tools/report.h"
#include "tools/sampling_options.h"
#include "tools/speculation_options.h"

namespace tern::cli {
namespace {

struct RunOptions {
  ModelOptions model;
  SamplingOptions sampling;
  SpeculationFlags speculation;
  std::string prompt;
  std::string file;
  std::string system;
  int context = 0;
  bool raw = false;
  bool json = false;
  bool hide_prompt = false;
};

// Without the line end that editors and echo put after a text: the text would go on in a new line.
std::string without_last_newline(std::string text) {
  if (text.ends_with('\n')) {
    text.pop_back();
  }
  return text;
}

// The prompt: given, from a file, or from a pipe.
Result<std::string> read_prompt(const RunOptions& options) {
  if (!options.file.empty() && !options.prompt.empty()) {
    return Error{"Expected a prompt or -f FILE, found both."};
  }
  if (!options.file.empty()) {
    ASSIGN_OR_RETURN(std::string text, read_text_file(options.file));
    return without_last_newline(std::move(text));
  }
  if (options.prompt == "-" || (options.prompt.empty() && !stdin_is_terminal())) {
    return without_last_newline(read_stdin());
  }
  if (options.prompt.empty()) {
    return Error{
        "Expected a prompt: give one as an argument, with -f FILE or through a pipe, or use `tern "
        "chat`."};
  }
  return options.prompt;
}

void print_json(const Completion& completion, const Model& model) {
  const Usage& usage = completion.usage;
  const nlohmann::ordered_json json = {
      {"text", completion.text},
      {"stop_reason", reason_name(completion.reason)},
      {"model", model.file().path().string()},
      {"prompt_tokens", usage.prompt_tokens},
      {"completion_tokens", usage.completion_tokens},
      {"prompt_tokens_per_second", prompt_speed(usage)},
      {"tokens_per_second", generation_speed(usage)},
      {"first_token_seconds", usage.first_token_seconds},
      {"proposed_tokens", usage.proposed_tokens},
      {"accepted_tokens", usage.accepted_tokens},
      {"speculation_gain", usage.speculation_gain},
      {"peak_memory_bytes", peak_resident_memory()},
  };
  std::printf("%s\n", json.dump(2).c_str());
}

Result<void> run(const RunOptions& options) {
  ASSIGN_OR_RETURN(const std::string prompt, read_prompt(options));
  Request request;
  RETURN_IF_ERROR(options.sampling.apply(request));
  ASSIGN_OR_RETURN(const LoadedModel loaded, load_model(options.model));
  ASSIGN_OR_RETURN(Session session, create_session(loaded, options.context));
  ASSIGN_OR_RETURN(Speculation speculation,
                   options.speculation.create(loaded, options.model, session.context()));
  LocalCompleter completer(std::move(session), std::move(speculation));

  const bool chat =
      !options.raw && (loaded.model->chat_template().is_chat() || !options.system.empty());
  if (chat) {
    if (!options.system.empty()) {
      request.messages.push_back({"system", options.system});
    }
    request.messages.push_back({"user", prompt});
  } else {
    request.prompt = prompt;
  }

  catch_interrupts();
  // A text completion reads as one text with its prompt; an answer stands alone.
  bool prompt_due = !chat && !options.json && !options.hide_prompt;
  const auto show = [&](std::string_view piece) {
    if (prompt_due) {
      std::fwrite(prompt.data(), 1, prompt.size(), stdout);
      prompt_due = false;
    }
    if (!options.json && !piece.empty()) {
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      std::fflush(stdout);
    }
    return !interrupted() && std::ferror(stdout) == 0;
  };
  ASSIGN_OR_RETURN(const Completion completion, completer.complete(request, show));
  if (options.json) {
    print_json(completion, *loaded.model);
  } else {
    std::printf("\n");
    std::fflush(stdout);
  }
  print_summary(completion, loaded.model->bytes_per_token());
  if (options.model.verbose) {
    print_head_stats(completer.session().head_stats());
  }
  return {};
}

}  // namespace

Action declare_run(CLI::App& app) {
  const auto options = std::make_shared<RunOptions>();
  app.add_option("prompt", options->prompt, "The prompt; - reads it from standard input");
  app.add_option("-f,--file", options->file, "Read the prompt from a file")->type_name("FILE");
  options->model.declare(app);
  declare_context(app, options->context);
  options->sampling.declare(app);
  options->speculation.declare(app);
  app.add_option("--system", options->system, "System message")->type_name("TEXT");
  declare_chat_template(app, options->model);
  app.add_flag("--raw", options->raw, "Use the prompt as it is, without the chat template");
  app.add_flag("--json", options->json, "Print one JSON object instead of streaming text");
  app.add_flag("--no-display-prompt", options->hide_prompt,
               "Do not repeat the prompt of a text completion");
  return [options] { return run(*options); };
}

}  // namespace tern::cli
