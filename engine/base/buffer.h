#pragma once
// Memory that SIMD kernels read: 64-byte aligned, and in huge pages where the system grants them.

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace tern {

enum class Pages : uint8_t {
  kHuge,   // 2 MiB where granted: worth 10-15 % of read bandwidth
  kSmall,  // for what is touched here and there: a huge page is resident as a whole after one touch
};

// Owns `size` zeroed bytes aligned to a cache line; large buffers are aligned to 2 MiB. Moves, never copies. Allocation failure throws std::bad_alloc, which main()
// turns into a message.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t size, Pages pages = Pages::kHuge);
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~AlignedBuffer();

  std::byte* data() noexcept { return data_; }
  const std::byte* data() const noexcept { return data_; }
  size_t size() const noexcept { return size_; }

  // Bytes of all buffers that exist in this process, touched or not.
  static size_t all_bytes() noexcept;

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// Pieces of one AlignedBuffer, handed out one after another: many arrays share huge pages instead of each rounding up to its
// own. Pages that are never handed out are never touched, and cost nothing.
class Arena {
 public:
  Arena() = default;
  explicit Arena(size_t capacity) : buffer_(capacity) {}

  // Bytes that take() uses up for an array of `bytes`: sum these to know the capacity that a set of arrays needs.
  static constexpr size_t cost(size_t bytes) { return (bytes + 63) / 64 * 64; }
  // `bytes` zeroed bytes, 64-byte aligned. There must be room for them.
  std::byte* take(size_t bytes);
  size_t used() const noexcept { return used_; }

 private:
  AlignedBuffer buffer_;
  size_t used_ = 0;
};

// A typed array in an AlignedBuffer. T is a plain number.
template <class T>
class AlignedArray {
 public:
  AlignedArray() = default;
  explicit AlignedArray(size_t count, Pages pages = Pages::kHuge)
      : buffer_(count * sizeof(T), pages), count_(count) {}

  T* data() noexcept { return reinterpret_cast<T*>(buffer_.data()); }
  const T* data() const noexcept { return reinterpret_cast<const T*>(buffer_.data()); }
  size_t size() const noexcept { return count_; }
  std::span<T> span() noexcept { return {data(), count_}; }
  std::span<const T> span() const noexcept { return {data(), count_}; }
  T& operator[](size_t i) noexcept { return data()[i]; }
  const T& operator[](size_t i) const noexcept { return data()[i]; }

 private:
  AlignedBuffer buffer_;
  size_t count_ = 0;
};

}  // namespace tern
