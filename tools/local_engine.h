#pragma once
// The model of this machine as one of several that may answer: looked at without loading it, loaded when it is asked.

#include <memory>
#include <optional>
#include <string>

#include "engine/session/local_completer.h"
#include "remote/api_outcome.h"
#include "remote/ledger.h"
#include "remote/remote_completer.h"
#include "remote/route.h"
#include "tools/cli.h"
#include "tools/speculation_options.h"

namespace tern::cli {

class LocalEngine {
 public:
  // `local`: the provider of this machine, whose aliases name models. `needs_speed`: how long an answer takes will matter, so
  // that it is measured where no earlier run has done so.
  LocalEngine(const ModelOptions& options, const SpeculationFlags& speculation, int context,
              const Provider* local, Ledger& ledger, bool needs_speed);

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
  Result<void> look_at_file(const std::string& file, const Request& request, Wanted& wanted,
                            LocalSide& side) const;

  ModelOptions options_;
  const SpeculationFlags& speculation_;
  int context_;
  Ledger& ledger_;
  bool needs_speed_;
  std::optional<LocalCompleter> completer_;
  bool answered_ = false;
};

}  // namespace tern::cli
