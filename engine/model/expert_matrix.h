#pragma once
// The matrices of experts, of which a token needs a few.

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "engine/base/buffer.h"
#include "engine/model/weights.h"

namespace tern {

// What packing needs beside the matrices: one lock and one piece of memory for all of them.
struct ExpertPacker {
  // `from`: where the experts lie; pages of those that were packed are dropped.
  ExpertPacker(int use_threads, int most_threads, std::span<const MappedFile> from)
      : threads(use_threads), regions(static_cast<size_t>(most_threads)), files(from) {}

  // Room for panels of so many trits. Not once experts are packed.
  void reserve(size_t panel) {
    if (panel > trits_each) {
      trits_each = panel;
      trits = AlignedArray<int8_t>(regions * panel);
    }
  }

  std::mutex mutex;
  int threads;
  size_t regions;
  std::span<const MappedFile> files;
  size_t trits_each = 0;
  AlignedArray<int8_t> trits;  // for each thread of the region that a pass runs in
};

// Where one expert's weights lie: rows of a tensor, which may hold those of other experts too.
struct Expert {
  const Tensor* tensor = nullptr;
  int64_t first_row = 0;
  float scale = 1.0F;  // that a tensor beside it holds
};

// The matrices of all experts of a layer, each of rows x cols and in one format. Dense experts are multiplied where they lie. Ternary
// ones are packed when a token is first sent to them: until then neither their part of the file nor the memory for them is
// touched. Shared by all sessions.
class ExpertMatrix {
 public:
  // `kernel`, `packer`: null for a dense format.
  ExpertMatrix(std::vector<Expert> experts, int32_t rows);
  ExpertMatrix(std::vector<Expert> experts, int32_t rows, const TernaryKernel& kernel,
               ExpertPacker& packer);

  int32_t rows() const { return rows_; }
  int32_t cols() const { return cols_; }
  bool ternary() const { return kernel_ != nullptr; }
  // Expert `index`, packed now if it was not yet. Floats of a format that claims them to be ternary, and of which some are not, are
  // multiplied where they lie as well. Not to be called from a parallel body.
  Linear of(int32_t index) const;
  // One that is there, for what depends on the shape only.
  Linear shape() const;
  // Bytes of all experts, once tokens have gone to each.
  size_t all_bytes() const;
  // How many experts have been packed.
  int32_t packed() const;
  // Bytes of one expert that a product reads.
  size_t bytes() const;

 private:
  enum class State : uint8_t { kUntouched, kPacked, kNotTernary };

  const WeightFormat& format() const { return *experts_.front().tensor->format; }
  Linear dense(int32_t index, const WeightFormat& format) const;
  State pack(int32_t index) const;
  size_t scales_each() const;  // of one expert

  std::vector<Expert> experts_;
  int32_t rows_;
  int32_t cols_;
  const TernaryKernel* kernel_ = nullptr;
  ExpertPacker* packer_ = nullptr;
  size_t bytes_each_ = 0;
  // Filled in on first use; states_ tells other threads.
  mutable AlignedArray<uint8_t> codes_;
  mutable AlignedArray<float> scales_;
  std::unique_ptr<std::atomic<State>[]> states_;
};

}  // namespace tern
