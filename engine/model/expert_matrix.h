#pragma once
// The matrices of experts: one tensor for all experts of a layer, of which a token needs a few.

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/base/buffer.h"
#include "engine/model/weights.h"

namespace tern {

// What packing needs beside the matrices: one lock and one piece of memory for all of them.
struct ExpertPacker {
  // `bytes`: trits of a panel, the longest there is.
  ExpertPacker(int use_threads, int most_threads, size_t bytes)
      : threads(use_threads),
        trits_each(bytes),
        trits(static_cast<size_t>(most_threads) * trits_each) {}

  std::mutex mutex;
  int threads;
  size_t trits_each;
  AlignedArray<int8_t> trits;  // for each thread of the region that a pass runs in
};

// A tensor of cols x rows x experts. Dense experts are multiplied where they lie. Ternary ones are packed when a token is first
// sent to them: until then neither their part of the file nor the memory for them is touched. Shared by all sessions.
class ExpertMatrix {
 public:
  // `kernel`, `packer`: null for a dense tensor.
  ExpertMatrix(const Tensor& tensor, DenseMatrix dense);
  ExpertMatrix(const Tensor& tensor, const TernaryKernel& kernel, ExpertPacker& packer);

  int32_t rows() const { return rows_; }
  int32_t cols() const { return cols_; }
  bool ternary() const { return kernel_ != nullptr; }
  // Expert `index`, packed now if it was not yet. Not to be called from a parallel body.
  Linear of(int32_t index) const;
  // One that is there, for what depends on the shape only.
  Linear shape() const;
  // How many experts have been packed.
  int32_t packed() const;
  // Bytes of one expert that a product reads.
  size_t bytes() const;

 private:
  void pack(int32_t index) const;
  size_t groups() const;

  const Tensor* tensor_;
  int32_t rows_;
  int32_t cols_;
  DenseMatrix dense_;
  const TernaryKernel* kernel_ = nullptr;
  ExpertPacker* packer_ = nullptr;
  size_t bytes_each_ = 0;
  // Filled in on first use; ready_ tells other threads.
  mutable AlignedArray<uint8_t> codes_;
  mutable AlignedArray<float> scales_;
  std::unique_ptr<std::atomic<bool>[]> ready_;
};

}  // namespace tern
