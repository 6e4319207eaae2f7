#pragma once
// What this CPU and its operating system can run.

#include <cstdint>
#include <string>

#include "kernels/cpu_feature.h"

namespace tern {

// Bits of CpuFeature found, asked once: of the processor, and where the operating system must permit a feature (AMX), of it.
uint32_t cpu_features();
// For people: "AMD EPYC 9354" and "avx2 avx512 avx512vnni".
std::string cpu_name();
std::string cpu_feature_names(uint32_t features);

}  // namespace tern
