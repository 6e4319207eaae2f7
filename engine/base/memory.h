#pragma once
// How much memory there is, and how much this process uses.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace tern {

// Bytes that can still be used without swapping: the system's estimate, or what the cgroup's limit leaves if that is less.
// 0 if it cannot be found out.
uint64_t available_memory();
// What the limit of a control group leaves; none: it has no limit. Pages of files count as left, as in the system's estimate: they
// are taken back when others need the memory.
std::optional<uint64_t> memory_left(const std::filesystem::path& cgroup);
// Bytes that can still be mapped under the limit that `ulimit -v` sets; none: there is no limit.
std::optional<uint64_t> available_address_space();
// The resident size of this process now, in bytes: mapped files count as far as they were read.
uint64_t resident_memory();
// The largest resident size this process has had, in bytes.
uint64_t peak_resident_memory();

// "1.19 GB", "640 kB": powers of 1000, three digits.
std::string human_bytes(uint64_t bytes);

}  // namespace tern
