// tern chat: a conversation.

#include "tools/chat.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "engine/base/environment.h"
#include "engine/base/input_file.h"
#include "engine/base/output_file.h"
#include "tools/chat_backend.h"
#include "tools/chat_turns.h"
#include "tools/line_editor.h"
#include "tools/local_model.h"
#include "tools/nearest.h"
#include "tools/offload.h"
#include "tools/option_group.h"
#include "tools/word_wrap.h"

namespace tern::cli {
namespace {

using Json = nlohmann::ordered_json;

std::filesystem::path history_path() {
  return xdg_file("XDG_STATE_HOME", ".local/state", "history");
}

// The text up to the first blank, and what follows it.
std::pair<std::string, std::string> split_word(const std::string& text) {
  const size_t end = std::min(text.find_first_of(" \t\n"), text.size());
  const size_t next = std::min(text.find_first_not_of(" \t\n", end), text.size());
  return {text.substr(0, end), text.substr(next)};
}

class Chat {
 public:
  Chat(const TalkOptions& options, bool shift) : options_(options), shift_(shift) { reset(); }

  Result<void> open() {
    ASSIGN_OR_RETURN(backend_, open_chat_backend(options_));
    return {};
  }

  // The first turn that failed, which is reported already.
  const std::optional<Failure>& failed() const { return failed_; }
  std::string describe() const { return backend_->describe(); }

  // Obeys a command, or answers. False: leave.
  bool handle(const std::string& line) {
    if (line.find_first_not_of(" \t\r\n") == std::string::npos) {
      return true;  // a blank line asks nothing
    }
    if (!line.starts_with('/')) {
      const Ending answered = answer(line);
      report(answered);
      if (answered.failure() != nullptr && !failed_) {
        failed_ = Failure{"", answered.failure()->kind};
      }
      return true;
    }
    const auto [name, rest] = split_word(line);
    if (name == "/exit" || name == "/quit" || name == "/bye") {
      return false;
    }
    report(obey(name, rest));
    return true;
  }

  // "312/2048", or nothing where it is not known.
  std::string used() const {
    return used_ == 0 || backend_->context() == 0
               ? std::string()
               : std::to_string(used_) + "/" + std::to_string(backend_->context());
  }

  static std::vector<std::string> command_names();

 private:
  struct Command {
    const char* name;
    const char* arguments;
    const char* help;
    Result<void> (Chat::*run)(const std::string& rest);
  };
  static const std::array<Command, 11> kCommands;

  Result<void> obey(const std::string& name, const std::string& rest) {
    for (const Command& command : kCommands) {
      if (name == command.name) {
        return (this->*command.run)(rest);
      }
    }
    const std::string meant = nearest(name, command_names());
    return Error{"there is no command " + name + "." +
                 (meant.empty() ? "" : " Did you mean " + meant + "?") +
                 " /help lists them; a message that begins with / needs a blank before it."};
  }

  static void report(const Ending& ending) {
    if (ending.failure() != nullptr) {
      print_error(ending.failure()->message);
    }
  }

  void reset() {
    messages_.clear();
    used_ = 0;
    told_of_drop_ = false;
    if (!options_.system.empty()) {
      messages_.push_back({"system", options_.system, ""});
    }
  }

  // ---- answers ---------------------------------------------------------------------------------

  Ending answer(const std::string& text) {
    const std::vector<Message> before = messages_;
    messages_.push_back({"user", text, ""});
    Ending answered = answer_last();
    if (answered.failure() != nullptr) {
      messages_ = before;  // what could not be answered is not part of the conversation
    }
    return answered;
  }

  Ending answer_last() {
    Request request;
    RETURN_IF_ERROR(options_.sampling.apply(request));
    request.local_only = options_.remote.local_only;
    RETURN_IF_ERROR(make_room());
    WordWrap wrap(options_.columns());
    const auto show = [&wrap](std::string_view piece) {
      print(wrap.push(piece));
      return !stop_wanted();
    };
    ApiOutcome outcome;
    Completion whole;
    while (true) {
      request.messages = messages_;
      if (whole.text.empty()) {
        backend_->note(request);
      }
      outcome = backend_->complete(request, show);
      if (outcome.error) {
        print(wrap.finish());
        end_text();
        return failure_of(*outcome.error);
      }
      const Completion& part = outcome.completion;
      whole.text += part.text;
      used_ = static_cast<size_t>(part.usage.prompt_tokens) +
              static_cast<size_t>(part.usage.completion_tokens);
      whole.usage = part.usage;
      whole.reason = part.reason;
      whole.served = part.served;
      whole.notes = part.notes;
      whole.tool_calls = part.tool_calls;
      if (messages_.back().role == "assistant") {
        messages_.back().content = whole.text;
      } else {
        messages_.push_back({"assistant", whole.text, ""});
      }
      if (part.reason != StopReason::kContextFull || !go_on(request, part)) {
        break;
      }
    }
    print(wrap.finish());
    end_text();
    print_data("\n");
    std::fflush(stdout);
    if (whole.reason == StopReason::kContextFull) {
      print_notice("the context is full and the answer ends here: -c N gives more room.");
    }
    outcome.completion = whole;
    backend_->summarize(outcome, options_.model.verbose);
    return {};
  }

  // After a context that filled up within an answer: whether there is room to go on with it.
  bool go_on(Request& request, const Completion& part) {
    if (request.max_tokens >= 0) {
      request.max_tokens -= part.usage.completion_tokens;
    }
    const Result<int> dropped = drop_turns();
    return dropped && *dropped > 0 && request.max_tokens != 0;
  }

  Result<int> drop_turns() {
    if (!shift_ || backend_->context() == 0) {
      return 0;
    }
    const TokenCounter count = [this](const std::vector<Message>& messages) {
      return backend_->count(messages).value_or(size_t{0});
    };
    ASSIGN_OR_RETURN(const int dropped,
                     drop_oldest_turns(messages_, count, room_to_leave(backend_->context())));
    if (dropped > 0 && !told_of_drop_) {
      told_of_drop_ = true;
      print_notice("the context of " + std::to_string(backend_->context()) +
                   " tokens is full: from here on the oldest turns are forgotten, the system "
                   "message is kept. -c N gives more room.");
    }
    return dropped;
  }

  Result<void> make_room() {
    const std::optional<Result<size_t>> tokens = backend_->count(messages_);
    if (!tokens) {
      return {};
    }
    if (!*tokens) {  // the template refuses these messages
      const bool first = messages_.size() <= (options_.system.empty() ? 1U : 2U);
      return Error{tokens->error().message +
                   (first ? "" : " /reset starts the conversation anew.")};
    }
    if (needs_room(**tokens, backend_->context())) {
      ASSIGN_OR_RETURN([[maybe_unused]] const int dropped, drop_turns());
    }
    return {};
  }

  static void print(const std::string& text) {
    print_text(text);
    std::fflush(stdout);
  }

  // ---- commands --------------------------------------------------------------------------------

  Result<void> help(const std::string&);

  Result<void> clear(const std::string&) {
    reset();
    print_message_f("The conversation starts anew.\n");
    return {};
  }

  Result<void> system(const std::string& text) {
    if (text.empty()) {
      print_message_f("%s\n", options_.system.empty()
                                  ? "There is no system message; /system TEXT sets one."
                                  : options_.system.c_str());
      return {};
    }
    options_.system = text;
    reset();
    print_message_f("The conversation starts anew with this system message.\n");
    return {};
  }

  // `/save FILE`, or `/save --force FILE`.
  Result<void> save(const std::string& rest) {
    constexpr std::string_view kForce = "--force ";
    const bool replace = rest.starts_with(kForce);
    const std::string path = rest.substr(replace ? kForce.size() : 0);
    if (path.empty()) {
      return Error{"/save: expected a file name."};
    }
    Json json = Json::array();
    for (const Message& message : messages_) {
      json.push_back({{"role", message.role}, {"content", message.content}});
    }
    RETURN_IF_ERROR(write_output(path,
                                 json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n",
                                 {.replace = replace, .is_private = true}));
    print_message_f("%zu messages written to %s\n", messages_.size(), path.c_str());
    return {};
  }

  // A conversation that /save wrote, or a model.
  Result<void> load(const std::string& name) {
    if (name.empty()) {
      return Error{"/load: expected a model, or a file that /save wrote."};
    }
    if (name.ends_with(".json")) {
      return load_conversation(name);
    }
    const TalkOptions before = options_;
    options_.model.path = name;
    Result<std::unique_ptr<ChatBackend>> opened = open_chat_backend(options_);
    if (!opened) {
      options_ = before;
      return opened.error();
    }
    backend_ = std::move(*opened);
    reset();
    print_message_f("%s.\nThe conversation starts anew.\n", describe().c_str());
    return {};
  }

  Result<void> load_conversation(const std::string& path) {
    ASSIGN_OR_RETURN(const std::string text, read_text_file(path));
    const Json json = Json::parse(text, nullptr, false);
    std::vector<Message> read;
    for (const Json& entry : json.is_array() ? json : Json::array()) {
      const Json role = entry.is_object() ? entry.value("role", Json()) : Json();
      const Json content = entry.is_object() ? entry.value("content", Json()) : Json();
      if (!role.is_string() || !content.is_string()) {
        read.clear();
        break;
      }
      read.push_back({role.get<std::string>(), content.get<std::string>(), ""});
    }
    if (read.empty()) {
      return Error{path +
                   ": expected a list of messages with role and content, as /save writes "
                   "it, found something else."};
    }
    options_.system = read.front().role == "system" ? read.front().content : "";
    reset();
    messages_ = std::move(read);
    print_message_f("%zu messages read from %s\n", messages_.size(), path.c_str());
    return {};
  }

  Result<void> show_settings(const std::string& what);
  Result<void> set(const std::string& rest);
  Result<void> set_parameter(std::string name, const std::string& value);

  TalkOptions options_;
  bool shift_;
  std::unique_ptr<ChatBackend> backend_;
  std::vector<Message> messages_;
  std::optional<Failure> failed_;
  size_t used_ = 0;  // tokens of the context after the last answer
  bool told_of_drop_ = false;
};

const std::array<Chat::Command, 11> Chat::kCommands = {{
    {"/help", "", "this list", &Chat::help},
    {"/?", "", "this list", &Chat::help},
    {"/reset", "", "forget the conversation; the system message stays", &Chat::clear},
    {"/clear", "", "the same", &Chat::clear},
    {"/system", "[TEXT]", "show the system message, or set one and start anew", &Chat::system},
    {"/set", "NAME VALUE", "set an option of sampling (temp, top_k, seed, ...), system, verbose",
     &Chat::set},
    {"/show", "[WHAT]", "model, parameters, system, template", &Chat::show_settings},
    {"/load", "MODEL|FILE", "load another model, or a conversation that was saved (.json)",
     &Chat::load},
    {"/save", "FILE", "write the conversation as JSON (--force FILE: replace one)", &Chat::save},
    {"/exit", "", "leave (or /bye, Ctrl-D)", &Chat::clear},
    {"/bye", "", "leave", &Chat::clear},
}};

std::vector<std::string> Chat::command_names() {
  std::vector<std::string> names;
  for (const Command& command : kCommands) {
    names.emplace_back(command.name);
  }
  return names;
}

Result<void> Chat::help(const std::string&) {
  for (const Command& command : kCommands) {
    const std::string name = std::string(command.name) + " " + command.arguments;
    print_message_f("  %-18s %s\n", name.c_str(), command.help);
  }
  print_message(
      "Ctrl-C ends an answer. A message of several lines: paste it, begin it with \"\"\" and end "
      "it "
      "with \"\"\", or\nend a line with \\. Tab completes commands; Ctrl-R searches the history.");
  return {};
}

Result<void> Chat::show_settings(const std::string& what) {
  const bool all = what.empty();
  bool known = all;
  if (all || what == "info" || what == "model") {
    known = true;
    print_message_f("%s.\n", describe().c_str());
    if (!used().empty()) {
      print_message_f("Used: %s tokens, %zu messages.\n", used().c_str(), messages_.size());
    }
  }
  if (all || what == "parameters") {
    known = true;
    const SamplingParams& p = options_.sampling.params;
    print_message_f(
        "temp %g, top_k %d, top_p %g, min_p %g, repeat_penalty %g, repeat_last_n %d, "
        "predict %d, seed %s\n",
        static_cast<double>(p.temperature), p.top_k, static_cast<double>(p.top_p),
        static_cast<double>(p.min_p), static_cast<double>(p.repeat_penalty), p.repeat_last_n,
        options_.sampling.max_tokens,
        options_.sampling.seed ? std::to_string(*options_.sampling.seed).c_str() : "new each time");
  }
  if (all || what == "system") {
    known = true;
    RETURN_IF_ERROR(system(""));
  }
  if (what == "template") {
    known = true;
    print_message_f("%s\n", backend_->template_text().c_str());
  }
  return known ? Result<void>()
               : Error{"/show: expected info, parameters, system or template, found " + what + "."};
}

Result<void> Chat::set(const std::string& rest) {
  auto [name, value] = split_word(rest);
  if (name == "parameter") {  // Ollama's form
    std::tie(name, value) = split_word(std::string(value));
  }
  if (name == "system") {
    return system(value);
  }
  if (name == "verbose" || name == "quiet") {
    options_.model.verbose = name == "verbose";
    print_message_f("Figures after each answer: %s.\n", name == "verbose" ? "on" : "off");
    return {};
  }
  if (name == "wordwrap" || name == "nowordwrap") {
    options_.wrap = name == "wordwrap";
    print_message_f("Lines are %sbroken between words.\n", options_.wrap ? "" : "not ");
    return {};
  }
  if (name.empty() || value.empty()) {
    return Error{"/set: expected a name and a value, such as /set temp 0.7; /show lists them."};
  }
  return set_parameter(name, value);
}

// The options of the command line, under their names there and in Ollama.
Result<void> Chat::set_parameter(std::string name, const std::string& value) {
  if (name == "num_ctx" || name == "ctx-size" || name == "c") {
    return Error{"/set: the context is made when the model is loaded: start again with -c " +
                 value + "."};
  }
  name = name == "num_predict" ? "predict" : name;
  std::ranges::replace(name, '_', '-');
  SamplingOptions changed = options_.sampling;
  CLI::App app;
  app.option_defaults()->take_last();
  changed.declare(app);
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& each : option->get_lnames()) {
      names.push_back(each);
    }
  }
  if (std::ranges::find(names, name) == names.end()) {
    const std::string meant = nearest(name, names);
    return Error{"/set: there is no option " + name + "." +
                 (meant.empty() ? "" : " Did you mean " + meant + "?")};
  }
  try {
    app.parse(std::vector<std::string>{value, "--" + name});
  } catch (const CLI::ParseError& error) {
    return Error{std::string("/set: ") + error.what()};
  }
  Request trial;
  RETURN_IF_ERROR(changed.apply(trial));
  options_.sampling = std::move(changed);
  print_message_f("%s is %s.\n", name.c_str(), value.c_str());
  return {};
}

// ---- input -------------------------------------------------------------------------------------

constexpr std::string_view kQuotes = "\"\"\"";

// A message between """ and """, over as many lines as it has.
std::string read_quoted(LineEditor& editor, std::string message) {
  message.erase(0, kQuotes.size());
  while (!message.ends_with(kQuotes)) {
    const std::optional<std::string> more = editor.read(". ");
    if (!more) {
      return message;
    }
    message += "\n" + *more;
  }
  message.resize(message.size() - kQuotes.size());
  return message;
}

// A line, joined with those after it while it ends in a backslash or a quotation is open.
std::optional<std::string> read_message(LineEditor& editor, const std::string& used) {
  const EndAtOnce while_waiting;
  std::optional<std::string> message = editor.read("> ", used);
  if (message && message->starts_with(kQuotes)) {
    return read_quoted(editor, std::move(*message));
  }
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

}  // namespace

Ending hold_conversation(const TalkOptions& options, bool single_turn, bool shift) {
  Chat chat(options, shift);
  RETURN_IF_ERROR(chat.open());
  if (stdin_is_terminal()) {
    print_message_f("%s.\n%s lists the commands, Ctrl-D leaves.\n", chat.describe().c_str(),
                    "/help");
  }
  ASSIGN_OR_RETURN(std::optional<std::string> message, options.prompt(false));
  LineEditor editor(history_path(), Chat::command_names());
  catch_interrupts();
  if (!message) {
    message = read_message(editor, chat.used());
  }
  while (message && chat.handle(*message) && std::ferror(stdout) == 0 && !single_turn) {
    if (stdin_is_terminal()) {
      clear_interrupt();  // Ctrl-C ended the answer; all other signals end the conversation
    }
    if (stop_wanted()) {
      break;
    }
    message = read_message(editor, chat.used());
  }
  // A script learns of a turn that failed; a person has read it.
  if (!stdin_is_terminal() && chat.failed()) {
    return *chat.failed();
  }
  return {};
}

Action declare_chat(CLI::App& app) {
  struct Options {
    TalkOptions talk;
    bool conversation = true;
    bool single_turn = false;
    bool shift = true;
  };
  const auto options = std::make_shared<Options>();
  options->talk.declare(app);
  const OptionGroup group(app, "Conversation");
  declare_raw_output(app);
  app.add_flag("--single-turn", options->single_turn, "Leave after the first answer (also -st)");
  app.add_flag("--context-shift,!--no-context-shift", options->shift,
               "At the end of the context drop the oldest turns (default), or refuse");
  app.add_flag("--conversation", options->conversation, "What this command does anyway");
  return [options]() -> Ending {
    RETURN_IF_ERROR(options->talk.settle());
    return hold_conversation(options->talk, options->single_turn, options->shift);
  };
}

}  // namespace tern::cli
