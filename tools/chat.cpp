// tern chat: a conversation.

#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>

#include "engine/base/environment.h"
#include "engine/session/local_completer.h"
#include "tools/cli.h"
#include "tools/line_editor.h"
#include "tools/offload.h"
#include "tools/remote_options.h"
#include "tools/report.h"
#include "tools/sampling_options.h"
#include "tools/speculation_options.h"

namespace tern::cli {
namespace {

constexpr char kHelp[] =
    "  /system TEXT  set the system message and start anew\n"
    "  /reset        forget the conversation\n"
    "  /save FILE    write the conversation as JSON\n"
    "  /help         this list\n"
    "  /exit         leave (or Ctrl-D)\n"
    "Ctrl-C ends an answer. A line that ends in \\ goes on in the next one.\n";

struct ChatOptions {
  ModelOptions model;
  SamplingOptions sampling;
  SpeculationFlags speculation;
  RemoteOptions remote;
  std::string system;
  int context = 0;
};

std::filesystem::path history_path() {
  return xdg_file("XDG_STATE_HOME", ".local/state", "history");
}

// Who answers, and what is said of an answer with -v.
struct Answerer {
  std::function<Result<Completion>(const Request&, const Completer::Sink&)> complete;
  std::function<void(const Completion&)> summarize;
};

class Chat {
 public:
  Chat(Answerer answerer, const ChatOptions& options)
      : answerer_(std::move(answerer)), options_(options), system_(options.system) {
    reset();
  }

  // Obeys a command, or answers. False: leave.
  bool handle(const std::string& line) {
    const size_t space = std::min(line.find(' '), line.size());
    const std::string command = line.substr(0, space);
    const std::string rest = line.substr(std::min(space + 1, line.size()));
    if (command == "/exit" || command == "/quit" || command == "/bye") {
      return false;
    }
    if (command == "/help") {
      print_message_f("%s", kHelp);
    } else if (command == "/reset") {
      reset();
      print_message_f("The conversation starts anew.\n");
    } else if (command == "/system") {
      system_ = rest;
      reset();
      print_message_f("The conversation starts anew with this system message.\n");
    } else if (command == "/save") {
      report(save(rest));
    } else if (command.starts_with("/")) {
      print_message_f("There is no command %s; /help lists them.\n", command.c_str());
    } else if (!line.empty()) {
      report(answer(line));
    }
    return true;
  }

 private:
  void reset() {
    messages_.clear();
    if (!system_.empty()) {
      messages_.push_back({"system", system_, ""});
    }
  }

  static void report(const Result<void>& done) {
    if (!done) {
      print_error(done.error().message);
    }
  }

  Result<void> answer(const std::string& text) {
    Request request;
    RETURN_IF_ERROR(options_.sampling.apply(request));
    messages_.push_back({"user", text, ""});
    request.messages = messages_;
    request.model = options_.model.path;
    request.local_only = options_.remote.local_only;
    clear_interrupt();
    const Result<Completion> completion = answerer_.complete(request, [](std::string_view piece) {
      print_text(piece);
      std::fflush(stdout);
      return !interrupted();
    });
    if (!completion) {
      end_text();
      messages_.pop_back();  // what could not be answered is not part of the conversation
      return completion.error();
    }
    end_text();
    print_data("\n");
    messages_.push_back({"assistant", completion->text, ""});
    if (completion->reason == StopReason::kContextFull) {
      print_message_f("The context is full: /reset starts anew.\n");
    }
    answerer_.summarize(*completion);
    return {};
  }

  // `/save FILE`, or `/save --force FILE`.
  Result<void> save(std::string path) const {
    constexpr std::string_view kForce = "--force ";
    const bool replace = path.starts_with(kForce);
    path.erase(0, replace ? kForce.size() : 0);
    if (path.empty()) {
      return Error{"/save: expected a file name."};
    }
    nlohmann::ordered_json json = nlohmann::ordered_json::array();
    for (const Message& message : messages_) {
      json.push_back({{"role", message.role}, {"content", message.content}});
    }
    using Json = nlohmann::ordered_json;
    RETURN_IF_ERROR(write_output(path,
                                 json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n",
                                 {.replace = replace, .is_private = true}));
    print_message_f("%zu messages written to %s\n", messages_.size(), path.c_str());
    return {};
  }

  Answerer answerer_;
  const ChatOptions& options_;
  std::string system_;
  std::vector<Message> messages_;
};

// A line, joined with those after it while it ends in a backslash.
std::optional<std::string> read_message(LineEditor& editor) {
  std::optional<std::string> message = editor.read("> ");
  while (message && message->ends_with('\\')) {
    message->back() = '\n';
    const std::optional<std::string> more = editor.read(". ");
    if (!more) {
      return message;
    }
    *message += *more;
  }
  return message;
}

Result<void> converse(Answerer answerer, const ChatOptions& options) {
  LineEditor editor(history_path());
  Chat conversation(std::move(answerer), options);
  if (stdin_is_terminal()) {
    print_message_f("/help lists the commands, Ctrl-D leaves.\n");
  }
  catch_interrupts();
  while (const std::optional<std::string> message = read_message(editor)) {
    if (!conversation.handle(*message) || std::ferror(stdout) != 0) {
      break;
    }
  }
  return {};
}

// The model of this machine is loaded only if it is asked. Each answer that costs something is followed by what it cost.
Result<void> chat_routed(const ChatOptions& options, const RemoteSettings& settings) {
  ASSIGN_OR_RETURN(const auto offload,
                   Offload::create(settings, options.model, options.speculation, options.context));
  const auto complete = [&](const Request& request, const Completer::Sink& sink) {
    return offload->complete(request, sink);
  };
  const auto summarize = [&](const Completion& completion) {
    if (completion.served.provider != kLocalName) {
      print_remote_summary(completion);
    }
  };
  return converse({complete, summarize}, options);
}

Result<void> chat(const ChatOptions& options) {
  ASSIGN_OR_RETURN(const std::optional<RemoteSettings> others, options.remote.others());
  if (others) {
    return chat_routed(options, *others);
  }
  ASSIGN_OR_RETURN(const LoadedModel loaded, load_model(options.model));
  ASSIGN_OR_RETURN(const uint64_t draft,
                   options.speculation.draft_memory(options.model, options.context));
  ASSIGN_OR_RETURN(Session session, create_session(loaded, options.context, draft));
  if (!loaded.model->chat_template().is_chat()) {
    print_notice("this model was not made for conversation; it will go on with your text.");
  }
  ASSIGN_OR_RETURN(Speculation speculation,
                   options.speculation.create(loaded, options.model, session.context()));
  LocalCompleter completer(std::move(session), std::move(speculation));
  const auto complete = [&](const Request& request, const Completer::Sink& sink) {
    return completer.complete(request, sink);
  };
  const auto summarize = [&](const Completion& completion) {
    if (options.model.verbose) {
      print_summary(completion, completer.session().model().bytes_per_token());
    }
  };
  return converse({complete, summarize}, options);
}

}  // namespace

Action declare_chat(CLI::App& app) {
  const auto options = std::make_shared<ChatOptions>();
  options->model.declare(app);
  declare_context(app, options->context);
  options->sampling.declare(app);
  options->speculation.declare(app);
  options->remote.declare(app);
  app.add_option("--system", options->system, "System message")->type_name("TEXT");
  declare_chat_template(app, options->model);
  declare_raw_output(app);
  return [options] { return chat(*options); };
}

}  // namespace tern::cli
