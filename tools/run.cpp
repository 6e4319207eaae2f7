// tern run: complete a prompt.

#include <cstdio>
#include <nlohmann/json.hpp>

#include "engine/base/memory.h"
#include "engine/session/local_completer.h"
#include "tools/asides.h"
#include "tools/chat.h"
#include "tools/local_model.h"
#include "tools/offload.h"
#include "tools/option_group.h"
#include "tools/report.h"
#include "tools/table.h"
#include "tools/talk_options.h"
#include "tools/word_wrap.h"

namespace tern::cli {
namespace {

struct RunOptions {
  TalkOptions talk;
  bool raw = false;
  bool json = false;
  bool json_lines = false;
  bool hide_prompt = false;
  bool conversation = false;
  bool single_turn = false;
};

nlohmann::ordered_json json_of(const Completion& completion, const std::string& model,
                               const Request& request) {
  const Usage& usage = completion.usage;
  return {
      {"text", completion.text},
      {"stop_reason", reason_name(completion.reason)},
      {"model", model},
      {"seed", request.sampling.seed},
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

// Where the pieces of an answer go: to standard output as they come, as text or as JSON, or nowhere (--json).
class Show {
 public:
  Show(const RunOptions& options, const std::string& prompt)
      : options_(options), prompt_(prompt), wrap_(options.talk.columns()) {}

  // `repeat_prompt`: a text completion reads as one text with its prompt; an answer stands alone.
  bool operator()(std::string_view piece, bool repeat_prompt) {
    const bool text = !options_.json && !options_.json_lines;
    if (!begun_ && repeat_prompt && text && !options_.hide_prompt) {
      print(wrap_.push(prompt_));
      begun_ = true;
    }
    if (!options_.json && !piece.empty()) {
      begun_ = true;
      if (text) {
        print(wrap_.push(piece));
      } else {
        print_line({{"text", piece}, {"done", false}});
      }
    }
    return !stop_wanted() && std::ferror(stdout) == 0;
  }

  // The whole answer with its figures, in the form that was asked for.
  void finish(nlohmann::ordered_json json) {
    if (options_.json_lines) {
      json["done"] = true;
      print_line(json);
    } else if (options_.json) {
      print_json(json);
    } else {
      end();
    }
  }

  // Ends a text that broke off.
  void end() {
    if (!options_.json && !options_.json_lines) {
      print(wrap_.finish());
      end_text();
      print_data("\n");
      std::fflush(stdout);
    }
  }

  bool begun() const { return begun_; }

 private:
  static void print_line(const nlohmann::ordered_json& json) {
    using Json = nlohmann::ordered_json;
    print_json_text(json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
    std::fflush(stdout);
  }

  static void print(const std::string& text) {
    print_text(text);
    std::fflush(stdout);
  }

  const RunOptions& options_;
  const std::string& prompt_;
  WordWrap wrap_;
  bool begun_ = false;
};

void add_messages(Request& request, const RunOptions& options, const std::string& prompt) {
  if (!options.talk.system.empty()) {
    request.messages.push_back({"system", options.talk.system, ""});
  }
  request.messages.push_back({"user", prompt, ""});
}

// The same where others may answer: the model of this machine is loaded only if it is asked.
Ending run_routed(const RunOptions& options, const RemoteSettings& settings,
                  const std::string& prompt, Request& request) {
  const TalkOptions& talk = options.talk;
  ASSIGN_OR_RETURN(const ModelNames names, talk.remote.names(talk.model.path, &settings));
  ASSIGN_OR_RETURN(const auto offload,
                   Offload::create(settings, talk.model, names, talk.speculation, talk.context));
  request.model = names.remote;
  ASSIGN_OR_RETURN(request.extra, talk.remote.calls.extra());
  if (options.raw) {
    request.prompt = prompt;
  } else {
    add_messages(request, options, prompt);
  }
  catch_interrupts();
  Show show(options, prompt);
  Thoughts thoughts;
  const ApiOutcome outcome = offload->complete(
      request,
      [&](std::string_view piece) {
        thoughts.end();
        // Until something comes another one may yet answer, whose answer stands alone.
        const bool continues = !piece.empty() && offload->local_answers() &&
                               offload->local().continues_text() && talk.system.empty();
        return show(piece, continues);
      },
      [&](std::string_view piece) {
        return options.json || options.json_lines || thoughts.show(piece);
      });
  thoughts.end();
  if (outcome.error) {
    if (show.begun()) {
      show.end();
    }
    return failure_of(*outcome.error);
  }
  const Completion& completion = outcome.completion;
  const Served& served = completion.served;
  nlohmann::ordered_json json = json_of(completion, served.model, request);
  json["provider"] = served.provider;
  json["request_id"] = served.request_id;
  json["route_reason"] = served.route_reason;
  json["cost_usd"] = served.cost_known ? nlohmann::ordered_json(served.cost_usd) : nullptr;
  json["cost_is_upper_bound"] = outcome.cost_is_upper_bound;
  json["cached_tokens"] = outcome.cached_tokens;
  json["estimated"] = completion.usage.estimated;
  if (!completion.reasoning.empty()) {
    json["reasoning"] = completion.reasoning;
  }
  for (const ToolCall& call : completion.tool_calls) {
    json["tool_calls"].push_back(
        {{"id", call.id}, {"name", call.name}, {"arguments", call.arguments}});
  }
  show.finish(std::move(json));
  if (!options.json && !options.json_lines) {
    print_tool_calls(completion.tool_calls);
  }
  if (completion.reason == StopReason::kContentFilter) {
    print_error(served.provider + " withheld the rest of the answer (content filter).");
    return Failure{"", FailureKind::kContent};
  }
  if (const LocalCompleter* local = offload->local().completer();
      local != nullptr && served.provider == kLocalName) {
    print_summary(completion, local->session().model().bytes_per_token());
  } else {
    print_remote_summary(outcome);
  }
  return {};
}

Ending run_here(const RunOptions& options, const std::string& prompt, Request& request) {
  const TalkOptions& talk = options.talk;
  RETURN_IF_ERROR(talk.remote.calls.expect_none());
  ASSIGN_OR_RETURN(const ModelNames names, talk.remote.names(talk.model.path, nullptr));
  ModelOptions here = talk.model;
  here.path = names.local;
  ASSIGN_OR_RETURN(const auto completer, open_local_model(here, talk.speculation, talk.context));
  const Model& model = completer->session().model();
  RETURN_IF_ERROR(check_writes_text(model));
  const bool chat = !options.raw && (model.chat_template().is_chat() || !talk.system.empty());
  if (chat) {
    add_messages(request, options, prompt);
  } else {
    request.prompt = prompt;
  }
  if (!talk.system.empty()) {
    note_system(model, options.raw);
  }
  RETURN_IF_ERROR(note_prompt(*completer, request, talk.verbose_prompt));
  catch_interrupts();
  Show show(options, prompt);
  ASSIGN_OR_RETURN(
      const Completion completion,
      completer->complete(request, [&](std::string_view piece) { return show(piece, !chat); }));
  show.finish(json_of(completion, model.file().path().string(), request));
  print_summary(completion, model.bytes_per_token());
  if (talk.model.verbose) {
    print_message_f("seed %llu\n", static_cast<unsigned long long>(request.sampling.seed));
    print_head_stats(completer->session().head_stats());
  }
  return {};
}

Ending run(RunOptions options) {
  TalkOptions& talk = options.talk;
  RETURN_IF_ERROR(talk.settle());
  // As llama-cli and `ollama run`: without a prompt, at a terminal, this is a conversation.
  if (options.conversation || (talk.words.empty() && talk.file.empty() && stdin_is_terminal())) {
    return hold_conversation(talk, options.single_turn, true);
  }
  ASSIGN_OR_RETURN(const std::optional<std::string> prompt, talk.prompt(true));
  Request request;
  RETURN_IF_ERROR(talk.sampling.apply(request));
  request.local_only = talk.remote.local_only;
  ASSIGN_OR_RETURN(const std::optional<RemoteSettings> others, talk.remote.others());
  return others ? run_routed(options, *others, *prompt, request)
                : run_here(options, *prompt, request);
}

}  // namespace

Action declare_run(CLI::App& app) {
  const auto options = std::make_shared<RunOptions>();
  options->talk.declare(app);
  {
    const OptionGroup group(app, "Prompt");
    app.add_flag("--raw", options->raw,
                 "Use the prompt as it is, without the chat template (also -no-cnv)");
    app.add_flag("--conversation", options->conversation,
                 "Hold a conversation, as `tern chat` (also -cnv, -i)");
    app.add_flag("--single-turn", options->single_turn,
                 "With --conversation: leave after the first answer (also -st)");
  }
  const OptionGroup group(app, "Output");
  declare_raw_output(app);
  CLI::Option* json =
      app.add_flag("--json", options->json, "Print one JSON object instead of streaming text");
  app.add_flag("--json-lines", options->json_lines,
               "Print the text as it comes, a JSON object a line; the last has the figures")
      ->excludes(json);
  app.add_flag("--no-display-prompt", options->hide_prompt,
               "Do not repeat the prompt of a text completion");
  return [options] { return run(*options); };
}

}  // namespace tern::cli
