#include "engine/run/head.h"

#include "kernels/split_pack.h"

namespace tern {

HeadWorkspace::HeadWorkspace(const Linear& head, int threads, Activations activations) {
  if (const auto* split = std::get_if<SplitMatrix>(&head.matrix)) {
    blocks_ = AlignedArray<SplitInputBlock>(static_cast<size_t>(kLogitsBatch) *
                                            static_cast<size_t>(split->blocks()));
    units_ = AlignedArray<float>(static_cast<size_t>(kLogitsBatch) *
                                 static_cast<size_t>(split->units()));
    screen_ = HeadScreen(split->rows, threads);
  } else if (head.ternary()) {
    quantized_ = QuantizedRows(kLogitsBatch, head.cols(), activations);
  }
}

size_t HeadWorkspace::bytes(const Linear& head, int threads, Activations activations) {
  if (const auto* split = std::get_if<SplitMatrix>(&head.matrix)) {
    return kLogitsBatch * (static_cast<size_t>(split->blocks()) * sizeof(SplitInputBlock) +
                           static_cast<size_t>(split->units()) * sizeof(float)) +
           HeadScreen::bytes(split->rows, threads);
  }
  return head.ternary() ? QuantizedRows::bytes(kLogitsBatch, head.cols(), activations) : 0;
}

void HeadWorkspace::multiply(const Compute& compute, const Linear& head, const float* x,
                             int32_t tokens, const LogitsWanted& wanted, ThreadScratch& scratch,
                             float* y) {
  LinearInput in{x, {}, tokens, nullptr};
  if (const auto* split = std::get_if<SplitMatrix>(&head.matrix)) {
    for (int32_t t = 0; t < tokens; ++t) {
      SplitInput& input = inputs_[static_cast<size_t>(t)];
      input = split_input(x + int64_t{t} * split->cols, *split,
                          blocks_.data() + int64_t{t} * split->blocks(),
                          units_.data() + int64_t{t} * split->units());
      input.scale *= head.scale;
    }
    in.split = inputs_.data();
    const std::span<const SplitInput> inputs =
        std::span(inputs_).first(static_cast<size_t>(tokens));
    if (screen_.multiply(compute, *split, inputs, wanted, y)) {
      return;
    }
  } else if (head.ternary()) {
    for (int32_t t = 0; t < tokens; ++t) {
      quantized_.quantize(*compute.kernels, x + int64_t{t} * head.cols(), t, tokens, head.cols(),
                          reinterpret_cast<float*>(scratch.of(0)));
    }
    in.q8 = quantized_.view(tokens, head.cols());
  }
  const Product product[] = {{&head, y}};
  tern::multiply(compute, in, product, scratch);
}

}  // namespace tern
