#include "tools/chat_backend.h"

#include <cstdio>

#include "engine/base/memory.h"
#include "tools/asides.h"
#include "tools/local_model.h"
#include "tools/offload.h"
#include "tools/report.h"

namespace tern::cli {
namespace {

class LocalBackend final : public ChatBackend {
 public:
  LocalBackend(const TalkOptions& options, std::unique_ptr<LocalCompleter> completer)
      : options_(options), completer_(std::move(completer)) {}

  ApiOutcome complete(const Request& request, const Completer::Sink& sink) override {
    ApiOutcome outcome;
    Result<Completion> completion = completer_->complete(request, sink);
    if (completion) {
      outcome.completion = std::move(*completion);
    } else {  // what the user asked for cannot be served, such as a message longer than the context
      outcome.error.emplace();
      outcome.error->kind = ApiErrorClass::kBadRequest;
      outcome.error->message = completion.error().message;
    }
    return outcome;
  }

  void summarize(const ApiOutcome& outcome, bool verbose) override {
    const Completion& completion = outcome.completion;
    if (verbose) {
      print_summary(completion, model().bytes_per_token());  // with the notes
      return;
    }
    for (const std::string& note : completion.notes) {
      print_notice(note);
    }
  }

  std::optional<Result<size_t>> count(const std::vector<Message>& messages) override {
    Request request;
    request.messages = messages;
    const Result<std::vector<TokenId>> tokens = completer_->prompt_tokens(request);
    return tokens ? Result<size_t>(tokens->size()) : Result<size_t>(tokens.error());
  }

  size_t context() const override { return static_cast<size_t>(completer_->session().context()); }

  void note(const Request& request) override {
    if (!told_of_system_ && request.messages.front().role == "system") {
      told_of_system_ = true;
      note_system(model(), false);
    }
    const Result<void> noted = note_prompt(*completer_, request, options_.verbose_prompt);
    if (!noted) {
      print_notice(noted.error().message);
    }
  }

  std::string describe() const override {
    const ModelConfig& config = model().config();
    const ChatTemplate& chat = model().chat_template();
    const std::string file = model().file().path().filename().string();
    return (config.name.empty() ? file : config.name + " (" + file + ")") + ", " +
           config.architecture + ", context of " + std::to_string(context()) + " tokens, " +
           (chat.is_chat() ? "chat template: " + std::string(chat.name())
                           : "no chat template: it continues your text");
  }

  std::string template_text() const override {
    const ChatTemplate& chat = model().chat_template();
    const auto own = model().file().get_string("tokenizer.chat_template");
    return chat.name() == "file's own" && own && *own ? std::string(**own)
                                                      : "built-in: " + std::string(chat.name());
  }

 private:
  const Model& model() const { return completer_->session().model(); }

  const TalkOptions& options_;
  std::unique_ptr<LocalCompleter> completer_;
  bool told_of_system_ = false;
};

// The model of this machine is loaded only if it is asked. Each answer that costs something is followed by what it cost.
class RoutedBackend final : public ChatBackend {
 public:
  RoutedBackend(const TalkOptions& options, std::unique_ptr<Offload> offload, std::string model,
                std::string extra)
      : options_(options),
        offload_(std::move(offload)),
        model_(std::move(model)),
        extra_(std::move(extra)) {}

  ApiOutcome complete(const Request& request, const Completer::Sink& sink) override {
    Request routed = request;
    routed.model = model_;
    routed.extra = extra_;
    Thoughts thoughts;
    const auto answer = [&](std::string_view piece) {
      thoughts.end();
      return sink(piece);
    };
    ApiOutcome outcome = offload_->complete(
        routed, answer, [&](std::string_view piece) { return thoughts.show(piece); });
    thoughts.end();
    return outcome;
  }

  void summarize(const ApiOutcome& outcome, bool) override {
    print_tool_calls(outcome.completion.tool_calls);
    if (outcome.completion.served.provider != kLocalName) {
      print_remote_summary(outcome);
    }
  }

  std::optional<Result<size_t>> count(const std::vector<Message>&) override { return {}; }
  size_t context() const override { return 0; }
  void note(const Request&) override {}

  std::string describe() const override {
    return "Other providers may answer (" +
           (options_.remote.route.empty() ? std::string("by your configuration")
                                          : "--route " + options_.remote.route) +
           "); `tern route` says who would";
  }

  std::string template_text() const override { return "Whoever answers has its own."; }

 private:
  const TalkOptions& options_;
  std::unique_ptr<Offload> offload_;
  std::string model_;  // as providers are asked for it
  std::string extra_;  // further fields of each request
};

}  // namespace

Result<std::unique_ptr<ChatBackend>> open_chat_backend(const TalkOptions& options) {
  ASSIGN_OR_RETURN(const std::optional<RemoteSettings> others, options.remote.others());
  if (others) {
    ASSIGN_OR_RETURN(const ModelNames names, options.remote.names(options.model.path, &*others));
    ASSIGN_OR_RETURN(std::string extra, options.remote.calls.extra());
    ASSIGN_OR_RETURN(auto offload, Offload::create(*others, options.model, names,
                                                   options.speculation, options.context));
    return std::unique_ptr<ChatBackend>(
        new RoutedBackend(options, std::move(offload), names.remote, std::move(extra)));
  }
  ASSIGN_OR_RETURN(const ModelNames names, options.remote.names(options.model.path, nullptr));
  RETURN_IF_ERROR(options.remote.calls.expect_none());
  ModelOptions here = options.model;
  here.path = names.local;
  ASSIGN_OR_RETURN(auto completer, open_local_model(here, options.speculation, options.context));
  const Model& model = completer->session().model();
  RETURN_IF_ERROR(check_writes_text(model));
  if (!model.chat_template().is_chat()) {
    print_notice("this model was not made for conversation; it will go on with your text.");
  }
  return std::unique_ptr<ChatBackend>(new LocalBackend(options, std::move(completer)));
}

}  // namespace tern::cli
