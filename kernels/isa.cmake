# The one list of instruction sets that have a kernel table, best first. The portable table is always there, below them all.
#
# tern_isa(name processor flags...): kernels/<name>.cpp is compiled with these flags where the target processor matches, and
# exports one constant, k<Name>Table (kernels/tables.h). To add an instruction set: one file, one line here, one in tables.h.
set(TERN_ISA_SOURCES "")
set(TERN_ISA_DEFINITIONS "")

function(tern_isa name processor)
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(${processor})$")
    return()
  endif()
  string(TOUPPER ${name} upper)
  # gcc takes an int template parameter as an array bound for a change of sign, and the undefined values in its own AVX-512
  # header for mistakes.
  set_source_files_properties(${name}.cpp PROPERTIES COMPILE_OPTIONS
    "-O3;-fno-exceptions;-Wno-sign-conversion;$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>;$<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized>;${ARGN}")
  set(TERN_ISA_SOURCES ${TERN_ISA_SOURCES} ${name}.cpp PARENT_SCOPE)
  set(TERN_ISA_DEFINITIONS ${TERN_ISA_DEFINITIONS} TERN_HAVE_${upper}=1 PARENT_SCOPE)
  set_property(GLOBAL APPEND PROPERTY TERN_ISAS ${name})
endfunction()

set_property(GLOBAL PROPERTY TERN_ISAS "")
tern_isa(amx "x86_64|AMD64" -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512vbmi
  -mavx512bitalg -mamx-tile -mamx-int8 -mprefer-vector-width=512)
tern_isa(avx512 "x86_64|AMD64" -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512vbmi
  -mavx512bitalg)
tern_isa(avx512vl "x86_64|AMD64" -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni)
tern_isa(avxvnni "x86_64|AMD64" -mavx2 -mfma -mf16c -mavxvnni)
tern_isa(avx2 "x86_64|AMD64" -mavx2 -mfma -mf16c)
tern_isa(neon_i8mm "aarch64|arm64|ARM64" -march=armv8.2-a+dotprod+i8mm)
tern_isa(neon_dotprod "aarch64|arm64|ARM64" -march=armv8.2-a+dotprod)
tern_isa(neon "aarch64|arm64|ARM64")
