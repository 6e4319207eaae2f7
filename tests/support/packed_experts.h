#pragma once
// How many experts of each matrix of a mixture are packed, layer by layer: gate, up, down.

#include <vector>

#include "engine/arch/model.h"

namespace tern::testing {

inline std::vector<int32_t> packed_experts(const Model& model) {
  std::vector<int32_t> counts;
  for (const LayerWeights& layer : model.decoder().layers) {
    for (const ExpertMatrix* matrix :
         {layer.experts->gate, layer.experts->up, layer.experts->down}) {
      counts.push_back(matrix->packed());
    }
  }
  return counts;
}

}  // namespace tern::testing
