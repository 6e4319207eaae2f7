#pragma once
// Finds the entries of a growing vector by the hashes of their keys, so that large dicts and scopes
// cost no more for an entry than small ones. It holds positions; the keys stay in the vector.

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace tern::jinja {

class HashIndex {
 public:
  // Below this many entries looking at each is as fast, and no index is kept.
  static constexpr size_t kFewEntries = 16;
  static constexpr size_t kNone = ~size_t{0};

  bool empty() const { return used_ == 0; }

  // The position that `is` accepts among the entries of this hash, or kNone.
  template <class Is>
  size_t find(size_t hash, const Is& is) const {
    if (slots_.empty()) {
      return kNone;
    }
    const auto short_hash = static_cast<uint32_t>(hash);
    for (size_t i = short_hash & mask(); slots_[i].position != 0; i = (i + 1) & mask()) {
      if (slots_[i].hash == short_hash && is(size_t{slots_[i].position} - 1)) {
        return size_t{slots_[i].position} - 1;
      }
    }
    return kNone;
  }

  void add(size_t hash, size_t position) {
    if (2 * (used_ + 1) > slots_.size()) {
      grow();
    }
    place({static_cast<uint32_t>(hash), static_cast<uint32_t>(position + 1)});
    ++used_;
  }

 private:
  struct Slot {
    uint32_t hash = 0;
    uint32_t position = 0;  // plus one; 0: free
  };

  size_t mask() const { return slots_.size() - 1; }

  void place(Slot slot) {
    size_t i = slot.hash & mask();
    while (slots_[i].position != 0) {
      i = (i + 1) & mask();
    }
    slots_[i] = slot;
  }

  void grow() {
    const std::vector<Slot> old = std::move(slots_);
    slots_.assign(old.empty() ? 4 * kFewEntries : 2 * old.size(), Slot{});
    for (const Slot& slot : old) {
      if (slot.position != 0) {
        place(slot);
      }
    }
  }

  std::vector<Slot> slots_;  // a power of two of them, at least half of them free
  size_t used_ = 0;
};

}  // namespace tern::jinja
