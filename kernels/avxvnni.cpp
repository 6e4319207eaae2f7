// AVX2 with AVX-VNNI: Intel processors without AVX-512, since Alder Lake. Everything but the table is in an unnamed namespace
// and only small headers are included (DESIGN.md says why).

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

const KernelTable kAvxvnniTable = {
    .name = "avxvnni",
    .needs = kCpuAvx2 | kCpuAvxVnni,
    .ternary = {kTernary<Vnni<VnniTwoBit, 16>>,
                kTernary<Vnni<VnniBase3, 4>>,
                {},
                {},
                kTernary<Vnni<VnniSign, kAllTokens>>},
    .streamed = TernaryKind::kBase3,
    .peak = {peak_ternary, peak_dense},
};

}  // namespace tern
