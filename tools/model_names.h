#pragma once
// One word of the user, two names: what a model is called on this machine, and what providers are
// asked for. Paths, and names that mean a model of this machine, are never sent to anybody.

#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "remote/provider_file.h"

namespace tern::cli {

// What the user said about models.
struct NamedModels {
  std::string model;         // -m; empty: nothing
  std::string local;         // --local-model
  std::string remote;        // --remote-model
  std::string usual_local;   // local_model of config.json
  std::string usual_remote;  // remote_model of config.json
};

struct ModelNames {
  std::string local;   // a path or a pulled model's name; empty: this machine's default model
  std::string remote;  // as providers are asked for it; empty: each for its default model
  // The model of this machine that was named, where providers are asked for their default model
  // instead; empty: no such case.
  std::string kept_here;
  // The provider's model that was named, where this machine can only stand in with `local`; empty:
  // no such case.
  std::string not_here;
  bool local_named = false;  // the user named a model of this machine
};

// Whether a name is that of a file or folder by its form alone, or would show one: it begins with
// /, ./, ../ or ~, holds a backslash, an address or a drive, or ends as files of weights do.
bool has_form_of_path(std::string_view name);

// `asked`: the providers that may be asked. Errors: a path that does not exist, a path for
// --remote-model.
Result<ModelNames> model_names(const NamedModels& named, const std::vector<const Provider*>& asked,
                               const Provider* here);

}  // namespace tern::cli
