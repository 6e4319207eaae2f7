#pragma once
// Products with factored matrices: stage by stage, each a ternary product of inputs that its scales have been multiplied into.

#include "engine/run/linear.h"

namespace tern {

// product.y = W x of those products whose matrices are factored, all in one step: their stages go side by side. Needs scratch.factors.
// The result of a token depends neither on the other tokens nor on the threads.
void multiply_factored(const Compute& compute, const LinearInput& in,
                       std::span<const Product> products, ThreadScratch& scratch);

// A thread's, for any number of tokens.
size_t factored_scratch_bytes(const KernelTable& kernels, const FactoredMatrix& w,
                              Activations activations);

}  // namespace tern
