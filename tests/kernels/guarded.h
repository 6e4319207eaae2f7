#pragma once
// Memory that notices a kernel's stray step: the pages before and after it cannot be touched.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>
#include <utility>

namespace tern::testing {

// Where the data lies between the two guard pages: one value before the start faults with kStart, one past the end with kEnd.
enum class Place { kStart, kEnd };

// `count` values of T, aligned to `alignment` bytes. What lies between them and the guard pages holds a pattern, and intact()
// tells whether it is still there.
template <class T>
class Guarded {
 public:
  Guarded(size_t count, size_t alignment, Place place) : count_(count) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t bytes = (count * sizeof(T) + alignment - 1) / alignment * alignment;
    const size_t inside = (bytes + page - 1) / page * page;
    mapped_ = inside + 2 * page;
    void* base = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
      throw std::bad_alloc();
    }
    base_ = static_cast<uint8_t*>(base);
    inside_ = {base_ + page, inside};
    std::memset(inside_.data(), kPattern, inside_.size());
    mprotect(base_, page, PROT_NONE);
    mprotect(base_ + page + inside, page, PROT_NONE);
    data_ = reinterpret_cast<T*>(inside_.data() + (place == Place::kEnd ? inside - bytes : 0));
  }
  Guarded(Guarded&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)),
        mapped_(other.mapped_),
        inside_(other.inside_),
        data_(other.data_),
        count_(other.count_) {}
  Guarded& operator=(Guarded&&) = delete;
  ~Guarded() {
    if (base_ != nullptr) {
      munmap(base_, mapped_);
    }
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return count_; }
  std::span<T> span() { return {data_, count_}; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }

  // From here on the values can only be read.
  void freeze() { mprotect(inside_.data(), inside_.size(), PROT_READ); }

  // Nothing but the values was written.
  bool intact() const {
    const uint8_t* begin = inside_.data();
    const auto* values = reinterpret_cast<const uint8_t*>(data_);
    const auto* values_end = reinterpret_cast<const uint8_t*>(data_ + count_);
    const auto is_pattern = [](uint8_t byte) { return byte == kPattern; };
    return std::all_of(begin, values, is_pattern) &&
           std::all_of(values_end, begin + inside_.size(), is_pattern);
  }

 private:
  static constexpr uint8_t kPattern = 0xA5;

  uint8_t* base_ = nullptr;
  size_t mapped_ = 0;
  std::span<uint8_t> inside_;
  T* data_ = nullptr;
  size_t count_ = 0;
};

}  // namespace tern::testing
