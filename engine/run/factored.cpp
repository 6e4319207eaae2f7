#include "engine/run/factored.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/base/parallel.h"

namespace tern {
namespace {

constexpr int kTilesPerThread = 4;

// Where a stage's sums go.
struct Target {
  float* y;
  int64_t stride;
  bool add;     // to what is there
  float scale;  // multiplies y when all is in it
};

class Step {
 public:
  Step(const Compute& compute, ThreadScratch& scratch, int32_t tokens)
      : compute_(compute), scratch_(scratch), memory_(scratch.factors), tokens_(tokens) {}

  void run(const FactorStage& stage, const float* x, const Target& target) {
    scale_inputs(stage, x);
    const TernaryMatrix& w = stage.signs;
    const int32_t rows = tokens_ * stage.envelopes;
    const LinearInput in{memory_.scaled.data(), memory_.quantized.view(rows, w.cols), rows};
    const auto bytes = static_cast<int64_t>(packed_bytes(w.layout, w.rows, w.cols));
    const int threads = compute_.threads_for(bytes * rows);
    parallel_tiles(threads, kTilesPerThread, w.rows, w.layout.tile_rows,
                   [&](int64_t begin, int64_t end, int thread) {
                     const RowRange range{static_cast<int32_t>(begin), static_cast<int32_t>(end)};
                     multiply_ternary(*compute_.kernels, in, w, *stage.kernel, range,
                                      memory_.products.data(), scratch_.of(thread));
                     combine(stage, range, target);
                   });
  }

 private:
  // Row k * tokens + t: token t times the scales of envelope k.
  void scale_inputs(const FactorStage& stage, const float* x) {
    const int32_t cols = stage.signs.cols;
    const int32_t rows = tokens_ * stage.envelopes;
    const int threads = compute_.threads_for(int64_t{rows} * cols * int64_t{sizeof(float)});
    parallel_for(threads, rows, 1, [&](int64_t begin, int64_t end, int thread) {
      for (int64_t row = begin; row < end; ++row) {
        const float* from = x + row % tokens_ * cols;
        const float* scales = stage.in.data() + row / tokens_ * cols;
        float* to = memory_.scaled.data() + row * cols;
        for (int32_t i = 0; i < cols; ++i) {
          to[i] = from[i] * scales[i];
        }
        memory_.quantized.quantize(*compute_.kernels, to, static_cast<int32_t>(row), rows, cols,
                                   reinterpret_cast<float*>(scratch_.of(thread)));
      }
    });
  }

  void combine(const FactorStage& stage, RowRange range, const Target& target) {
    const int64_t width = stage.signs.rows;
    for (int64_t t = 0; t < tokens_; ++t) {
      float* y = target.y + t * target.stride;
      for (int32_t r = range.begin; r < range.end; ++r) {
        float sum = target.add ? y[r] : 0;
        for (int64_t k = 0; k < stage.envelopes; ++k) {
          sum += stage.out[static_cast<size_t>(k * width + r)] *
                 memory_.products[static_cast<size_t>((k * tokens_ + t) * width + r)];
        }
        y[r] = sum * target.scale;
      }
    }
  }

  const Compute& compute_;
  ThreadScratch& scratch_;
  FactorMemory& memory_;
  int32_t tokens_;
};

int32_t most_envelopes(const FactoredMatrix& w) {
  FactorShape shape;
  shape.include(w);
  return shape.envelopes;
}

}  // namespace

void FactorShape::include(const FactoredMatrix& w) {
  for (const std::vector<FactorStage>& stages : w.paths) {
    for (const FactorStage& stage : stages) {
      widest = std::max({widest, stage.signs.rows, stage.signs.cols});
      envelopes = std::max(envelopes, stage.envelopes);
    }
  }
}

FactorMemory::FactorMemory(const FactorShape& most, Activations activations) {
  if (most.envelopes == 0) {
    return;
  }
  const int32_t rows = std::max(kRows, most.envelopes);
  const auto floats = static_cast<size_t>(rows) * static_cast<size_t>(most.widest);
  scaled = AlignedArray<float>(floats);
  hidden = AlignedArray<float>(floats);
  products = AlignedArray<float>(floats * static_cast<size_t>(planes_of(activations)));
  quantized = QuantizedRows(rows, most.widest, activations);
}

void multiply_factored(const Compute& compute, const LinearInput& in, const Product& product,
                       ThreadScratch& scratch) {
  const Linear& w = *product.w;
  const int64_t cols = w.cols();
  const int64_t rows = w.rows();
  FactorMemory& memory = scratch.factors;
  TERN_CHECK(memory.scaled.size() > 0, "factored matrices need memory of their own");
  const int32_t at_once = FactorMemory::tokens_at_once(most_envelopes(*w.factored));
  for (int32_t first = 0; first < in.tokens; first += at_once) {
    Step step(compute, scratch, std::min(at_once, in.tokens - first));
    for (const std::vector<FactorStage>& stages : w.factored->paths) {
      const bool is_first = &stages == &w.factored->paths.front();
      const bool is_last = &stages == &w.factored->paths.back();
      const float* x = in.x + first * cols;
      for (const FactorStage& stage : stages) {
        if (&stage == &stages.back()) {
          step.run(stage, x, {product.y + first * rows, rows, !is_first, is_last ? w.scale : 1.0F});
        } else {
          // A stage has read its input before it writes.
          step.run(stage, x, {memory.hidden.data(), stage.signs.rows, false, 1.0F});
          x = memory.hidden.data();
        }
      }
    }
  }
}

size_t factored_scratch_bytes(const KernelTable& kernels, const FactoredMatrix& w,
                              Activations activations) {
  const int32_t rows = std::max(FactorMemory::kRows, most_envelopes(w));
  size_t most = 0;
  for (const std::vector<FactorStage>& stages : w.paths) {
    for (const FactorStage& stage : stages) {
      most = std::max(
          {most, ternary_scratch_bytes(kernels, stage.signs, *stage.kernel, rows, activations),
           QuantizedRows::scratch_floats(stage.signs.cols) * sizeof(float)});
    }
  }
  return most;
}

}  // namespace tern
