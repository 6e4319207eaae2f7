#include "kernels/cpu.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace tern {
namespace {

struct FeatureName {
  CpuFeature bit;
  const char* name;
};
constexpr FeatureName kFeatureNames[] = {
    {kCpuAvx2, "avx2"},
    {kCpuAvxVnni, "avxvnni"},
    {kCpuAvx512, "avx512"},
    {kCpuAvx512Vnni, "avx512vnni"},
    {kCpuAvx512Vbmi, "avx512vbmi"},
    {kCpuAvx512Bitalg, "avx512bitalg"},
    {kCpuAmxInt8, "amxint8"},
    {kCpuNeon, "neon"},
    {kCpuDotprod, "dotprod"},
    {kCpuI8mm, "i8mm"},
};

#if defined(__x86_64__)

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

// All zero where the processor has no such leaf.
Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) {
    return {};
  }
  return r;
}

constexpr bool bit(uint32_t word, int index) {
  return ((word >> index) & 1U) != 0;
}

// XCR0: the register sets that the operating system saves. A feature that CPUID reports but XCR0 lacks faults when used
// (virtual machines, old kernels). Readable only with OSXSAVE.
uint32_t saved_registers(uint32_t leaf1_ecx) {
  if (!bit(leaf1_ecx, 27)) {
    return 0;
  }
  uint32_t low = 0;
  uint32_t high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

// Asks the operating system for the tile registers, which it gives to no process unasked: their 8 KB would enlarge every
// thread's saved state and signal frames. Old kernels and sandboxes refuse; then there is no AMX. What is granted holds for
// all threads of the process.
bool may_use_tiles() {
#ifdef __linux__
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

// Bit numbers: Intel SDM volume 2, CPUID.
uint32_t detect() {
  constexpr uint32_t kYmm = 0x06;      // SSE, AVX
  constexpr uint32_t kZmm = 0xE6;      // and opmask, upper halves, upper registers
  constexpr uint32_t kTile = 0x60000;  // TILECFG, TILEDATA
  const Registers leaf1 = cpuid(1, 0);
  const Registers leaf7 = cpuid(7, 0);
  const Registers leaf7_1 = leaf7.eax >= 1 ? cpuid(7, 1) : Registers{};
  const uint32_t saved = saved_registers(leaf1.ecx);

  uint32_t found = 0;
  const auto set_if = [&found](bool condition, CpuFeature feature) {
    found |= condition ? feature : 0U;
  };
  const bool fma = bit(leaf1.ecx, 12);
  const bool f16c = bit(leaf1.ecx, 29);
  const bool avx2 = bit(leaf7.ebx, 5) && fma && f16c && (saved & kYmm) == kYmm;
  const bool f_dq_bw_vl =
      bit(leaf7.ebx, 16) && bit(leaf7.ebx, 17) && bit(leaf7.ebx, 30) && bit(leaf7.ebx, 31);
  const bool avx512 = avx2 && f_dq_bw_vl && (saved & kZmm) == kZmm;
  set_if(avx2, kCpuAvx2);
  set_if(avx2 && bit(leaf7_1.eax, 4), kCpuAvxVnni);
  set_if(avx512, kCpuAvx512);
  set_if(avx512 && bit(leaf7.ecx, 1), kCpuAvx512Vbmi);
  set_if(avx512 && bit(leaf7.ecx, 11), kCpuAvx512Vnni);
  set_if(avx512 && bit(leaf7.ecx, 12), kCpuAvx512Bitalg);
  const bool amx = bit(leaf7.edx, 24) && bit(leaf7.edx, 25) && (saved & kTile) == kTile;
  set_if(amx && may_use_tiles(), kCpuAmxInt8);
  return found;
}

#elif defined(__aarch64__) && defined(__linux__)

uint32_t detect() {
  uint32_t found = kCpuNeon;  // part of the base architecture
  found |= (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0 ? kCpuDotprod : 0U;
  found |= (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0 ? kCpuI8mm : 0U;
  return found;
}

#else

uint32_t detect() {
  return 0;
}

#endif

}  // namespace

uint32_t cpu_features() {
  static const uint32_t kFeatures = detect();
  return kFeatures;
}

std::string cpu_name() {
#if defined(__x86_64__)
  std::array<char, 49> brand{};  // three leaves of 16 characters, then the end
  for (uint32_t leaf = 0; leaf < 3; ++leaf) {
    const Registers r = cpuid(0x80000002U + leaf, 0);
    std::memcpy(brand.data() + leaf * 16, &r, sizeof(r));
  }
  const std::string name = brand.data();
  const size_t begin = name.find_first_not_of(' ');
  if (begin != std::string::npos) {
    return name.substr(begin, name.find_last_not_of(' ') - begin + 1);
  }
  return "unnamed x86-64 processor";
#elif defined(__aarch64__)
  return "64-bit ARM processor";
#else
  return "unknown processor";
#endif
}

std::string cpu_feature_names(uint32_t features) {
  std::string names;
  for (const FeatureName& feature : kFeatureNames) {
    if ((features & feature.bit) != 0) {
      names += names.empty() ? "" : " ";
      names += feature.name;
    }
  }
  return names;
}

}  // namespace tern
