// AVX2 with AVX-VNNI: Intel processors without AVX-512, since Alder Lake. Everything but the table is in an unnamed namespace
// and only small headers are included (DESIGN.md says why).

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu_feature.h"
#include "kernels/tables.h"

namespace tern {

const KernelTable kAvxvnniTable = {
    .name = "avxvnni",
    .needs = kCpuAvx2 | kCpuAvxVnni,
    .ternary = {},
};

}  // namespace tern
