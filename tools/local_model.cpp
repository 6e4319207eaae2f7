#include "tools/local_model.h"

#include <cstdio>

#include "engine/session/embedder.h"

namespace tern::cli {

Result<std::unique_ptr<LocalCompleter>> open_local_model(const ModelOptions& options,
                                                         const SpeculationFlags& speculation,
                                                         int context) {
  ASSIGN_OR_RETURN(const LoadedModel loaded, load_model(options));
  ASSIGN_OR_RETURN(const uint64_t draft, speculation.draft_memory(options, context));
  ASSIGN_OR_RETURN(Session session, create_session(loaded, context, draft));
  ASSIGN_OR_RETURN(Speculation guesses, speculation.create(loaded, options, session.context()));
  return std::make_unique<LocalCompleter>(std::move(session), std::move(guesses));
}

Result<void> check_writes_text(const Model& model) {
  ASSIGN_OR_RETURN(const std::optional<Pooling> pooling, pooling_of(model));
  if (pooling) {
    return Error{model.file().path().string() +
                 ": expected a model that writes text, found an embedding model (its file names a "
                 "pooling). `tern embed -m " +
                 model.file().path().string() + "` turns texts into vectors."};
  }
  return {};
}

void note_system(const Model& model, bool raw) {
  const ChatTemplate& chat = model.chat_template();
  if (raw) {
    print_notice("--raw uses the prompt as it is: the system message is left out.");
  } else if (!chat.is_chat()) {
    print_notice(
        "the model has no chat template: the system message stands before the prompt as plain "
        "text.");
  } else if (!chat.takes_system()) {
    print_notice(
        "the chat template has no place for a system message: it is put before the first message.");
  }
}

Result<void> note_prompt(const LocalCompleter& completer, const Request& request, bool verbose) {
  const Tokenizer& tokenizer = completer.session().model().tokenizer();
  if (completer.repeats_bos(request)) {
    print_notice("a text of this model begins with " +
                 std::string(tokenizer.spelling(tokenizer.bos())) +
                 " anyway: the one that you wrote is left out.");
  }
  if (!verbose) {
    return {};
  }
  ASSIGN_OR_RETURN(const std::vector<TokenId> tokens, completer.prompt_tokens(request));
  print_message_f("prompt of %zu tokens:\n", tokens.size());
  for (const TokenId token : tokens) {
    print_message_f("%6d %s\n", token, std::string(tokenizer.spelling(token)).c_str());
  }
  return {};
}

}  // namespace tern::cli
