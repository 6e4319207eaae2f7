#!/usr/bin/env bash
# check_symbols.sh [BUILD_DIR]: proves that instruction-set files export nothing but their tables.
#
# An inline function compiled with -mavx2 may become the program's only copy of that function, and then crash on a CPU without
# AVX2 (the linker keeps any one of several weak copies). So the object file of every source that kernels/isa.cmake lists may
# define one global symbol, its constant table, and no weak one. Run it on an optimised build: without optimisation, compilers
# keep inline functions as functions.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/dev}

failed=0
checked=0
mapfile -t names <<<"$(sed -n 's/^tern_isa(\([a-z0-9_]*\) .*/\1/p' kernels/isa.cmake)"
for name in "${names[@]}"; do
  object=$build/kernels/CMakeFiles/tern_kernels.dir/$name.cpp.o
  if [ ! -f "$object" ]; then
    echo "check_symbols: $object is not there (not built, or another processor's)"
    continue
  fi
  checked=$((checked + 1))
  tables=0
  # Columns: address, type, name. Lower-case types are local, except u (unique), v and w (weak).
  while read -r type symbol; do
    if [[ $type == [DR] && $symbol == tern::k*Table ]]; then
      tables=$((tables + 1))
    else
      echo "check_symbols: $object defines '$symbol' (type $type), which other files could come to share"
      failed=1
    fi
  done < <(nm --defined-only --demangle "$object" | sed 's/^[0-9a-f]* *//' | grep -E '^[A-Zuvw] ' || true)
  if [ "$tables" -ne 1 ]; then
    echo "check_symbols: $object exports $tables tables, expected 1"
    failed=1
  fi
done

if [ "$checked" -eq 0 ]; then
  echo "check_symbols: no object file of an instruction set in $build: build tern_kernels there first"
  exit 1
fi
[ "$failed" -eq 0 ] && echo "check_symbols: $checked instruction-set files, one table each and nothing else"
exit "$failed"
