#pragma once
// How well a model predicts a short built-in text: tells weights that were read rightly from weights that were not.

#include "engine/arch/model.h"

namespace tern {

// Mean -log p of the text's tokens, each given those before it, in nats. A pass over some thirty tokens.
double text_loss(const Model& model, int threads);

// Whether such a loss is clearly below that of a model that knows nothing, the logarithm of its vocabulary.
bool knows_text(const Model& model, double loss);

}  // namespace tern
