// AVX-512 VL and VNNI in 256-bit registers: for processors that have these but not all that the avx512 table needs (Cascade
// Lake), or that slow down in 512-bit code. The same kernels as AVX-VNNI, which lets a processor without AVX-VNNI prove them.
// Everything but the table is in an unnamed namespace and only small headers are included (DESIGN.md says why).

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu_feature.h"
#include "kernels/tables.h"

namespace tern {
namespace {

#include "kernels/x86_ymm.inl"

#include "kernels/x86_ternary.inl"

#include "kernels/x86_vnni.inl"

#include "kernels/x86_peak.inl"

}  // namespace

const KernelTable kAvx512vlTable = {
    .name = "avx512vl",
    .needs = kCpuAvx2 | kCpuAvx512 | kCpuAvx512Vnni,
    .ternary = {kTernary<Vnni<VnniTwoBit, 16>>,
                kTernary<Vnni<VnniBase3, 16>>,
                {},
                {},
                kTernary<Vnni<VnniSign, kAllTokens>>},
    .streamed = TernaryKind::kBase3,
    .peak = {peak_ternary, peak_dense},
};

}  // namespace tern
