#include "engine/base/buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

namespace tern {
namespace {

constexpr size_t kCacheLine = 64;
constexpr size_t kHugePage = size_t{2} << 20;

constexpr size_t round_up(size_t value, size_t step) {
  return (value + step - 1) / step * step;
}

}  // namespace

AlignedBuffer::AlignedBuffer(size_t size) : size_(size) {
  if (size == 0) {
    return;
  }
  const size_t alignment = size >= kHugePage ? kHugePage : kCacheLine;
  if (size > SIZE_MAX - alignment) {
    throw std::bad_alloc();
  }
  const size_t bytes = round_up(size, alignment);
  data_ = static_cast<std::byte*>(std::aligned_alloc(alignment, bytes));
  if (data_ == nullptr) {
    throw std::bad_alloc();
  }
  if (alignment == kHugePage) {
    ::madvise(data_, bytes,
              MADV_HUGEPAGE);  // advice only: without huge pages the buffer is just slower
  }
  std::memset(data_, 0, bytes);
}

AlignedBuffer::~AlignedBuffer() {
  std::free(data_);
}

}  // namespace tern
