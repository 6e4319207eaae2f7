#pragma once
// Vectors of texts from a provider.

#include <optional>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "tools/remote_options.h"

namespace tern::cli {

struct ForeignEmbeddings {
  std::vector<std::vector<float>> vectors;  // one a text, in their order
  std::string model;                        // as the server named it
  std::string provider;
  int64_t tokens = 0;
  bool estimated = false;
};

// What the route says: a provider's vectors, or none where this machine is to compute them, by the
// model that `model` names then. Vectors of two models cannot be compared, so no other model stands
// in for the one that was named.
Result<std::optional<ForeignEmbeddings>> embed_elsewhere(const RemoteOptions& remote,
                                                         std::string& model,
                                                         const std::vector<std::string>& texts);

}  // namespace tern::cli
