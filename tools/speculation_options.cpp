#include "tools/speculation_options.h"

#include "engine/session/draft_model.h"
#include "engine/session/prompt_lookup.h"
#include "tools/model_store.h"

namespace tern::cli {
namespace {

Result<SpeculationOptions> parse_most(const std::string& text) {
  if (text == "auto") {
    return kAutoSpeculation;
  }
  SpeculationOptions options;
  const Result<int32_t> most = parse_number(text, 0, int32_t{kMostGuesses});
  if (!most) {
    return Error{"--speculate: " + most.error().message + " Or: auto."};
  }
  options.most = *most;
  return options;
}

}  // namespace

void SpeculationFlags::declare(CLI::App& app) {
  app.add_option("--speculate", most,
                 "Guess up to N tokens ahead and verify them in one pass, which changes no token; "
                 "auto: as many as "
                 "make it faster by measurement; 0: none")
      ->type_name("N|auto")
      ->capture_default_str();
  app.add_option("--draft", draft,
                 "A smaller model with the same vocabulary that guesses; default: what followed "
                 "the same words "
                 "earlier in the text")
      ->type_name("FILE");
}

Result<uint64_t> SpeculationFlags::draft_memory(const ModelOptions& options, int context) const {
  if (draft.empty()) {
    return uint64_t{0};
  }
  ASSIGN_OR_RETURN(const std::string path, resolve_model(draft));
  ASSIGN_OR_RETURN(const TensorFile file, TensorFile::open(path));
  ASSIGN_OR_RETURN(const MemoryPlan plan, plan_for_file(file, options, context));
  return plan.total();
}

Result<Speculation> SpeculationFlags::create(const LoadedModel& target, const ModelOptions& options,
                                             int32_t context) const {
  ASSIGN_OR_RETURN(const SpeculationOptions speculation, parse_most(most));
  if (draft.empty()) {
    return Speculation(speculation, std::make_unique<PromptLookup>(context));
  }
  if (speculation.most == 0) {
    return Error{"Expected --draft FILE or --speculate 0, found both: with 0 nothing is guessed."};
  }
  ModelOptions draft_options = options;
  draft_options.path = draft;
  draft_options.chat_template.clear();
  ASSIGN_OR_RETURN(const LoadedModel small, load_model(draft_options));
  ASSIGN_OR_RETURN(Session session, create_session(small, context));
  ASSIGN_OR_RETURN(std::unique_ptr<Proposer> proposer,
                   DraftModel::create(std::move(session), *target.model));
  return Speculation(speculation, std::move(proposer));
}

}  // namespace tern::cli
