#include "engine/run/factored.h"

#include <algorithm>
#include <cmath>

#include "engine/base/check.h"
#include "engine/base/parallel.h"

namespace tern {
namespace {

constexpr int kTilesPerThread = 4;

using Stages = std::vector<FactorStage>;

// One stage of one of the matrices.
struct Job {
  const FactorStage* stage = nullptr;
  FactorMemory::Place* memory = nullptr;
  const float* x = nullptr;
  float* y = nullptr;
  int64_t stride = 0;  // of y
  bool add = false;    // to what is in y
  float scale = 1;     // multiplies y when all is in it
};

// The matrices of one input, up to so many tokens.
class Step {
 public:
  Step(const Compute& compute, ThreadScratch& scratch) : compute_(compute), scratch_(scratch) {}

  void add(const Product& product) {
    TERN_CHECK(count_ < FactorShape::kPlaces, "more factored matrices of one input than places");
    const FactoredMatrix& w = *product.w->factored;
    const FactorMemory::Place& place = scratch_.factors.places[count_];
    size_t longest = 0;
    for (const Stages& stages : w.paths) {
      longest = std::max(longest, stages.size());
      for (const FactorStage& stage : stages) {
        envelopes_ = std::max(envelopes_, stage.envelopes);
        const auto widest = static_cast<size_t>(std::max(stage.signs.rows, stage.signs.cols));
        TERN_CHECK(place.hidden.size() >= FactorMemory::kRows * widest,
                   "a factored matrix is wider than the memory for it");
      }
    }
    paths_ = std::max(paths_, w.paths.size());
    stages_ = std::max(stages_, longest);
    products_[count_++] = &product;
  }
  bool empty() const { return count_ == 0; }
  int32_t tokens_at_once() const { return FactorMemory::tokens_at_once(envelopes_); }

  // Of tokens first and on.
  void run(const LinearInput& in, int32_t first, int32_t tokens) {
    tokens_ = tokens;
    for (size_t path = 0; path < paths_; ++path) {
      for (size_t stage = 0; stage < stages_; ++stage) {
        job_count_ = 0;
        for (size_t i = 0; i < count_; ++i) {
          add_job(in, first, i, path, stage);
        }
        if (job_count_ > 0) {
          scale_inputs();
          multiply_signs();
        }
      }
    }
    normalize(first);
  }

 private:
  std::span<const Job> jobs() const { return std::span(jobs_).first(job_count_); }
  int32_t rows_of(const Job& job) const { return tokens_ * job.stage->envelopes; }

  void add_job(const LinearInput& in, int32_t first, size_t index, size_t path, size_t stage) {
    const Product& product = *products_[index];
    const Linear& w = *product.w;
    const std::vector<Stages>& paths = w.factored->paths;
    if (path >= paths.size() || stage >= paths[path].size()) {
      return;
    }
    FactorMemory::Place& memory = scratch_.factors.places[index];
    Job& job = jobs_[job_count_++];
    job = {&paths[path][stage], &memory};
    job.x = stage == 0 ? in.x + int64_t{first} * w.cols() : memory.hidden.data();
    if (stage + 1 == paths[path].size()) {
      job.y = product.y + int64_t{first} * w.rows();
      job.stride = w.rows();
      job.add = path > 0;
      const bool whole = path + 1 == paths.size() && w.factored->norm_eps == 0;
      job.scale = whole ? w.scale : 1.0F;
    } else {
      // Inputs have been read before products are written.
      job.y = memory.hidden.data();
      job.stride = job.stage->signs.rows;
    }
  }

  // Row k * tokens + t: token t times the scales of envelope k.
  void scale_inputs() {
    int64_t values = 0;
    int64_t all_rows = 0;
    for (const Job& job : jobs()) {
      values += int64_t{rows_of(job)} * job.stage->signs.cols;
      all_rows += rows_of(job);
    }
    const int threads = compute_.threads_for(values * int64_t{sizeof(float)});
    parallel_for(threads, all_rows, 1, [&](int64_t begin, int64_t end, int thread) {
      for (const Job& job : jobs()) {
        const int64_t rows = rows_of(job);
        for (int64_t row = std::max<int64_t>(begin, 0); row < std::min(end, rows); ++row) {
          scale_row(job, row, thread);
        }
        begin -= rows;
        end -= rows;
      }
    });
  }

  void scale_row(const Job& job, int64_t row, int thread) {
    const int32_t cols = job.stage->signs.cols;
    const float* from = job.x + row % tokens_ * cols;
    const float* scales = job.stage->in.data() + row / tokens_ * cols;
    float* to = job.memory->scaled.data() + row * cols;
    for (int32_t i = 0; i < cols; ++i) {
      to[i] = from[i] * scales[i];
    }
    job.memory->quantized.quantize(*compute_.kernels, to, static_cast<int32_t>(row), rows_of(job),
                                   cols, reinterpret_cast<float*>(scratch_.of(thread)));
  }

  static RowCut cut_of(const Job& job) {
    const TernaryMatrix& w = job.stage->signs;
    return {w.rows, static_cast<int32_t>(w.layout.tile_rows),
            static_cast<int64_t>(packed_bytes(w.layout, w.rows, w.cols)) * job.stage->envelopes};
  }

  void multiply_signs() {
    int64_t bytes = 0;
    int64_t length = 0;
    for (const Job& job : jobs()) {
      const TernaryMatrix& w = job.stage->signs;
      bytes += static_cast<int64_t>(packed_bytes(w.layout, w.rows, w.cols)) * rows_of(job);
      length += cut_of(job).length();
    }
    parallel_tiles(compute_.threads_for(bytes), kTilesPerThread, length, 1,
                   [&](int64_t begin, int64_t end, int thread) {
                     for (const Job& job : jobs()) {
                       const RowCut cut = cut_of(job);
                       const RowRange range = cut.rows(begin, end);
                       if (range.begin < range.end) {
                         multiply_rows(job, range, thread);
                       }
                       begin -= cut.length();
                       end -= cut.length();
                     }
                   });
  }

  void multiply_rows(const Job& job, RowRange range, int thread) {
    const FactorStage& stage = *job.stage;
    FactorMemory::Place& memory = *job.memory;
    const int32_t rows = rows_of(job);
    const LinearInput in{memory.scaled.data(), memory.quantized.view(rows, stage.signs.cols), rows};
    multiply_ternary(*compute_.kernels, in, stage.signs, *stage.kernel, range,
                     memory.products.data(), scratch_.of(thread));
    const int64_t width = stage.signs.rows;
    for (int64_t t = 0; t < tokens_; ++t) {
      float* y = job.y + t * job.stride;
      for (int32_t r = range.begin; r < range.end; ++r) {
        float sum = job.add ? y[r] : 0;
        for (int64_t k = 0; k < stage.envelopes; ++k) {
          sum += stage.out[static_cast<size_t>(k * width + r)] *
                 memory.products[static_cast<size_t>((k * tokens_ + t) * width + r)];
        }
        y[r] = sum * job.scale;
      }
    }
  }

  // Of those whose products are normalised.
  void normalize(int32_t first) {
    for (size_t i = 0; i < count_; ++i) {
      const Linear& w = *products_[i]->w;
      if (w.factored->norm_eps == 0) {
        continue;
      }
      const int64_t rows = w.rows();
      float* y = products_[i]->y + first * rows;
      parallel_for(compute_.threads_for(tokens_ * rows * int64_t{sizeof(float)}), tokens_, 1,
                   [&](int64_t begin, int64_t end, int) {
                     for (int64_t t = begin; t < end; ++t) {
                       normalize_row(y + t * rows, rows, w.factored->norm_eps, w.scale);
                     }
                   });
    }
  }

  static void normalize_row(float* y, int64_t size, float eps, float scale) {
    double sum = 0;
    double squares = 0;
    for (int64_t i = 0; i < size; ++i) {
      sum += double{y[i]};
    }
    const double mean = sum / static_cast<double>(size);
    for (int64_t i = 0; i < size; ++i) {
      squares += (double{y[i]} - mean) * (double{y[i]} - mean);
    }
    const double factor =
        double{scale} / std::sqrt(squares / static_cast<double>(size) + double{eps});
    for (int64_t i = 0; i < size; ++i) {
      y[i] = static_cast<float>((double{y[i]} - mean) * factor);
    }
  }

  const Compute& compute_;
  ThreadScratch& scratch_;
  std::array<const Product*, FactorShape::kPlaces> products_{};
  std::array<Job, FactorShape::kPlaces> jobs_{};
  size_t count_ = 0;
  size_t job_count_ = 0;
  size_t paths_ = 0;
  size_t stages_ = 0;
  int32_t envelopes_ = 1;
  int32_t tokens_ = 0;
};

size_t rows_at_once(const FactorShape& most) {
  return static_cast<size_t>(std::max(FactorMemory::kRows, most.envelopes));
}

}  // namespace

FactorMemory::FactorMemory(const FactorShape& most, Activations activations) {
  for (size_t i = 0; i < places.size(); ++i) {
    if (most.widest[i] == 0) {
      continue;
    }
    const size_t floats = rows_at_once(most) * static_cast<size_t>(most.widest[i]);
    places[i].scaled = AlignedArray<float>(floats);
    places[i].hidden = AlignedArray<float>(floats);
    places[i].products = AlignedArray<float>(floats * static_cast<size_t>(planes_of(activations)));
    places[i].quantized =
        QuantizedRows(static_cast<int32_t>(rows_at_once(most)), most.widest[i], activations);
  }
}

size_t FactorMemory::bytes(const FactorShape& most, Activations activations) {
  const auto planes = static_cast<size_t>(planes_of(activations));
  size_t bytes = 0;
  for (const int32_t widest : most.widest) {
    const size_t rows = rows_at_once(most);
    bytes +=
        rows * static_cast<size_t>(widest) * (2 + planes) * sizeof(float) +
        (widest > 0 ? QuantizedRows::bytes(static_cast<int32_t>(rows), widest, activations) : 0);
  }
  return bytes;
}

void multiply_factored(const Compute& compute, const LinearInput& in,
                       std::span<const Product> products, ThreadScratch& scratch) {
  Step step(compute, scratch);
  for (const Product& product : products) {
    if (product.w->factored != nullptr) {
      step.add(product);
    }
  }
  if (step.empty()) {
    return;
  }
  const int32_t at_once = step.tokens_at_once();
  for (int32_t first = 0; first < in.tokens; first += at_once) {
    step.run(in, first, std::min(at_once, in.tokens - first));
  }
}

size_t factored_scratch_bytes(const KernelTable& kernels, const FactoredMatrix& w,
                              Activations activations) {
  int32_t rows = FactorMemory::kRows;
  for (const Stages& stages : w.paths) {
    for (const FactorStage& stage : stages) {
      rows = std::max(rows, stage.envelopes);
    }
  }
  size_t most = 0;
  for (const Stages& stages : w.paths) {
    for (const FactorStage& stage : stages) {
      most = std::max(
          {most, ternary_scratch_bytes(kernels, stage.signs, *stage.kernel, rows, activations),
           QuantizedRows::scratch_floats(stage.signs.cols) * sizeof(float)});
    }
  }
  return most;
}

}  // namespace tern
