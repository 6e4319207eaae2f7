#pragma once
// The output head: from the normed output of the last layer to logits.

#include <array>
#include <cstdint>

#include "engine/base/buffer.h"
#include "engine/model/weights.h"
#include "engine/run/head_screen.h"
#include "engine/run/linear.h"

namespace tern {

// Memory of a head's products. Nothing is allocated after its creation.
class HeadWorkspace {
 public:
  HeadWorkspace() = default;
  HeadWorkspace(const Linear& head, int threads, Activations activations = Activations::kInt8);
  static size_t bytes(const Linear& head, int threads, Activations activations);

  // Logits y[t * head.rows() + r] of up to kLogitsBatch tokens, with room as Product says; x: tokens x head.cols(). Those that are wanted have the same
  // bits whatever else is wanted; the others may be minus infinity.
  void multiply(const Compute& compute, const Linear& head, const float* x, int32_t tokens,
                const LogitsWanted& wanted, ThreadScratch& scratch, float* y);

  const HeadStats& stats() const { return screen_.stats(); }

 private:
  QuantizedRows quantized_;               // for a ternary head
  AlignedArray<SplitInputBlock> blocks_;  // kLogitsBatch inputs of a split head, and their units
  AlignedArray<float> units_;
  std::array<SplitInput, kLogitsBatch> inputs_;
  HeadScreen screen_;
};

}  // namespace tern
