#pragma once
// Which files of a repository make up the model that was asked for.

#include "remote/hub.h"

namespace tern::cli {

struct PullPlan {
  std::string
      file;  // the GGUF file, or the first part of a split one; empty: a folder of safetensors
  std::vector<HubFile> files;

  uint64_t size() const;
};

// `wanted`: a file's path, a part of one that only one file has, or empty for the repository's only model. Errors list the
// choices.
Result<PullPlan> plan_pull(const HubRepo& repo, const std::string& wanted);

}  // namespace tern::cli
