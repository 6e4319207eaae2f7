#pragma once
// How much memory there is, and how much this process uses.

#include <cstdint>
#include <string>

namespace tern {

// Bytes that can still be used without swapping: the system's estimate, or what the cgroup's limit leaves if that is less.
// 0 if it cannot be found out.
uint64_t available_memory();
// The resident size of this process now, in bytes: mapped files count as far as they were read.
uint64_t resident_memory();
// The largest resident size this process has had, in bytes.
uint64_t peak_resident_memory();

// "1.19 GB", "640 kB": powers of 1000, three digits.
std::string human_bytes(uint64_t bytes);

}  // namespace tern
