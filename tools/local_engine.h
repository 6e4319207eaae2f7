#pragma once
// The model of this machine as one of several that may answer: looked at without loading it, loaded when it is asked.

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "engine/session/local_completer.h"
#include "remote/api_outcome.h"
#include "remote/ledger.h"
#include "remote/remote_completer.h"
#include "remote/route.h"
#include "tools/cli.h"
#include "tools/model_names.h"
#include "tools/speculation_options.h"

namespace tern::cli {

class LocalEngine {
 public:
  // `local`: the provider of this machine, whose aliases name models. `offload_after`: seconds that
  // an answer may take here where others can give it (0: any time): speeds are measured where no
  // earlier run has done so, and a run whose first token does not come by then is handed over.
  LocalEngine(const ModelOptions& options, const ModelNames& names,
              const SpeculationFlags& speculation, int context, const Provider* local,
              Ledger& ledger, double offload_after);

  // Both may be called by several threads. One answer is made at a time.
  LocalSide look(const Request& request, Wanted& wanted);
  ApiOutcome complete(const Request& request, const Sinks& sinks);
  // Null: it was not asked.
  const LocalCompleter* completer() const { return completer_ ? &*completer_ : nullptr; }
  // Whether its model goes on with a text instead of answering.
  bool continues_text() const;

 private:
  Result<std::string> path() const;
  Result<LocalCompleter*> load();
  void measure(Session& session);
  Speed known_speed(const std::string& file);
  // What the file says, read once: a conversation or a batch asks again and again.
  struct Seen {
    Tokenizer tokenizer;
    MemoryPlan plan;
  };
  Result<const Seen*> look_at_file(const std::string& file);
  void judge_size(const Seen& seen, const Request& request, Wanted& wanted, LocalSide& side) const;

  ModelOptions options_;  // its path is this machine's own name for the model
  std::string not_here_;  // as ModelNames has it
  const SpeculationFlags& speculation_;
  int context_;
  Ledger& ledger_;
  double offload_after_;
  std::mutex look_mutex_;  // of seen_
  std::optional<Seen> seen_;
  std::mutex answer_mutex_;  // of what is below
  std::optional<LocalCompleter> completer_;
  bool answered_ = false;
};

}  // namespace tern::cli
