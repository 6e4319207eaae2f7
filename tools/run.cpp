// tern run: complete a prompt.

#include <cstdio>
#include <nlohmann/json.hpp>

#include "engine/base/input_file.h"
#include "engine/base/memory.h"
#include "engine/session/local_completer.h"
#include "tools/cli.h"
#include "tools/offload.h"
#include "tools/remote_options.h"
#include "tools/report.h"
#include "tools/sampling_options.h"
#include "tools/speculation_options.h"
#include "tools/table.h"

namespace tern::cli {
namespace {

struct RunOptions {
  ModelOptions model;
  SamplingOptions sampling;
  SpeculationFlags speculation;
  RemoteOptions remote;
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
    ASSIGN_OR_RETURN(std::string text, read_stream_or_file(options.file));
    return without_last_newline(std::move(text));
  }
  if (options.prompt == "-" || (options.prompt.empty() && !stdin_is_terminal())) {
    ASSIGN_OR_RETURN(std::string text, read_stream_or_file("-"));
    return without_last_newline(std::move(text));
  }
  if (options.prompt.empty()) {
    return Error{
        "Expected a prompt: give one as an argument, with -f FILE or through a pipe, or use `tern "
        "chat`."};
  }
  return options.prompt;
}

nlohmann::ordered_json json_of(const Completion& completion, const std::string& model) {
  const Usage& usage = completion.usage;
  return {
      {"text", completion.text},
      {"stop_reason", reason_name(completion.reason)},
      {"model", model},
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
}

// Where the pieces of an answer go: to standard output as they come, or nowhere (--json).
class Show {
 public:
  Show(const RunOptions& options, const std::string& prompt) : options_(options), prompt_(prompt) {}

  // `repeat_prompt`: a text completion reads as one text with its prompt; an answer stands alone.
  bool operator()(std::string_view piece, bool repeat_prompt) {
    if (!begun_ && repeat_prompt && !options_.json && !options_.hide_prompt) {
      print_text(prompt_);
      begun_ = true;
    }
    if (!options_.json && !piece.empty()) {
      begun_ = true;
      print_text(piece);
      std::fflush(stdout);
    }
    return !interrupted() && std::ferror(stdout) == 0;
  }

  bool begun() const { return begun_; }

 private:
  const RunOptions& options_;
  const std::string& prompt_;
  bool begun_ = false;
};

void end_answer(bool json) {
  if (!json) {
    end_text();
    print_data("\n");
    std::fflush(stdout);
  }
}

void add_messages(Request& request, const RunOptions& options, const std::string& prompt) {
  if (!options.system.empty()) {
    request.messages.push_back({"system", options.system, ""});
  }
  request.messages.push_back({"user", prompt, ""});
}

// The same where others may answer: the model of this machine is loaded only if it is asked.
Result<void> run_routed(const RunOptions& options, const RemoteSettings& settings,
                        const std::string& prompt, Request& request) {
  ASSIGN_OR_RETURN(const auto offload,
                   Offload::create(settings, options.model, options.speculation, options.context));
  request.model = options.model.path;
  if (options.raw) {
    request.prompt = prompt;
  } else {
    add_messages(request, options, prompt);
  }
  catch_interrupts();
  Show show(options, prompt);
  const Result<Completion> answered = offload->complete(request, [&](std::string_view piece) {
    return show(piece, offload->local().continues_text() && options.system.empty());
  });
  if (!answered) {
    if (show.begun()) {
      end_answer(options.json);
    }
    return answered.error();
  }
  const Completion& completion = *answered;
  const Served& served = completion.served;
  if (options.json) {
    nlohmann::ordered_json json = json_of(completion, served.model);
    json["provider"] = served.provider;
    json["request_id"] = served.request_id;
    json["route_reason"] = served.route_reason;
    json["cost_usd"] = served.cost_known ? nlohmann::ordered_json(served.cost_usd) : nullptr;
    json["estimated"] = completion.usage.estimated;
    if (!completion.reasoning.empty()) {
      json["reasoning"] = completion.reasoning;
    }
    for (const ToolCall& call : completion.tool_calls) {
      json["tool_calls"].push_back(
          {{"id", call.id}, {"name", call.name}, {"arguments", call.arguments}});
    }
    print_json(json);
  }
  end_answer(options.json);
  if (const LocalCompleter* local = offload->local().completer();
      local != nullptr && served.provider == kLocalName) {
    print_summary(completion, local->session().model().bytes_per_token());
  } else {
    print_remote_summary(completion);
  }
  return {};
}

Result<void> run(const RunOptions& options) {
  ASSIGN_OR_RETURN(const std::string prompt, read_prompt(options));
  Request request;
  RETURN_IF_ERROR(options.sampling.apply(request));
  request.local_only = options.remote.local_only;
  ASSIGN_OR_RETURN(const std::optional<RemoteSettings> others, options.remote.others());
  if (others) {
    return run_routed(options, *others, prompt, request);
  }
  ASSIGN_OR_RETURN(const LoadedModel loaded, load_model(options.model));
  ASSIGN_OR_RETURN(const uint64_t draft,
                   options.speculation.draft_memory(options.model, options.context));
  ASSIGN_OR_RETURN(Session session, create_session(loaded, options.context, draft));
  ASSIGN_OR_RETURN(Speculation speculation,
                   options.speculation.create(loaded, options.model, session.context()));
  LocalCompleter completer(std::move(session), std::move(speculation));

  const bool chat =
      !options.raw && (loaded.model->chat_template().is_chat() || !options.system.empty());
  if (chat) {
    add_messages(request, options, prompt);
  } else {
    request.prompt = prompt;
  }

  catch_interrupts();
  Show show(options, prompt);
  ASSIGN_OR_RETURN(
      const Completion completion,
      completer.complete(request, [&](std::string_view piece) { return show(piece, !chat); }));
  if (options.json) {
    print_json(json_of(completion, loaded.model->file().path().string()));
  }
  end_answer(options.json);
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
  options->remote.declare(app);
  app.add_option("--system", options->system, "System message")->type_name("TEXT");
  declare_chat_template(app, options->model);
  declare_raw_output(app);
  app.add_flag("--raw", options->raw, "Use the prompt as it is, without the chat template");
  app.add_flag("--json", options->json, "Print one JSON object instead of streaming text");
  app.add_flag("--no-display-prompt", options->hide_prompt,
               "Do not repeat the prompt of a text completion");
  return [options] { return run(*options); };
}

}  // namespace tern::cli
