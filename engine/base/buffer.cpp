#include "engine/base/buffer.h"

#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>

#include "engine/base/check.h"

namespace tern {
namespace {

constexpr size_t kCacheLine = 64;
constexpr size_t kHugePage = size_t{2} << 20;

std::atomic<size_t> g_all_bytes = 0;

constexpr size_t round_up(size_t value, size_t step) {
  return (value + step - 1) / step * step;
}

// Anonymous pages: zeroed by the system at the first touch, so memory that is never used (the far end of a long context)
// costs nothing, and each thread's part lands on its own NUMA node.
std::byte* map_pages(size_t bytes, Pages pages) {
  // Map one huge page more and give back what lies outside the aligned range.
  void* raw = ::mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) {
    throw std::bad_alloc();
  }
  auto* begin = static_cast<std::byte*>(raw);
  const size_t lead =
      round_up(reinterpret_cast<uintptr_t>(begin), kHugePage) - reinterpret_cast<uintptr_t>(begin);
  if (lead > 0) {
    ::munmap(begin, lead);
  }
  if (lead < kHugePage) {
    ::munmap(begin + lead + bytes, kHugePage - lead);
  }
  // Advice only: without it the buffer is just slower, or larger.
  ::madvise(begin + lead, bytes, pages == Pages::kHuge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  return begin + lead;
}

}  // namespace

AlignedBuffer::AlignedBuffer(size_t size, Pages pages) : size_(size) {
  if (size > SIZE_MAX - 2 * kHugePage) {
    throw std::bad_alloc();
  }
  if (size >= kHugePage) {
    data_ = map_pages(round_up(size, kHugePage), pages);
  } else if (size > 0) {
    const size_t bytes = round_up(size, kCacheLine);
    data_ = static_cast<std::byte*>(std::aligned_alloc(kCacheLine, bytes));
    if (data_ == nullptr) {
      throw std::bad_alloc();
    }
    std::memset(data_, 0, bytes);
  }
  g_all_bytes.fetch_add(size_, std::memory_order_relaxed);
}

AlignedBuffer::~AlignedBuffer() {
  g_all_bytes.fetch_sub(size_, std::memory_order_relaxed);
  if (size_ >= kHugePage) {
    ::munmap(data_, round_up(size_, kHugePage));
  } else {
    std::free(data_);
  }
}

size_t AlignedBuffer::all_bytes() noexcept {
  return g_all_bytes.load(std::memory_order_relaxed);
}

std::byte* Arena::take(size_t bytes) {
  TERN_CHECK(cost(bytes) <= buffer_.size() - used_, "an arena is handed out only once");
  std::byte* piece = buffer_.data() + used_;
  used_ += cost(bytes);
  return piece;
}

}  // namespace tern
