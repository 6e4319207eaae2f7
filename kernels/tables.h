#pragma once
// The tables that the instruction-set files export. Only select.cpp and the files themselves read this.

#include "kernels/kernels.h"

namespace tern {

extern const KernelTable kAmxTable;          // amx.cpp
extern const KernelTable kAvx512Table;       // avx512.cpp
extern const KernelTable kAvx512vlTable;     // avx512vl.cpp
extern const KernelTable kAvxvnniTable;      // avxvnni.cpp
extern const KernelTable kAvx2Table;         // avx2.cpp
extern const KernelTable kNeonTable;         // neon.cpp
extern const KernelTable kNeonDotprodTable;  // neon_dotprod.cpp
extern const KernelTable kNeonI8mmTable;     // neon_i8mm.cpp
extern const KernelTable kPortableTable;     // portable.cpp

}  // namespace tern
