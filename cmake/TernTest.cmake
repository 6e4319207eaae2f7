# How tests and fuzzers are made and made known to ctest.

# tern_test(name SOURCES ... USES ... [PER_ISA]): one gtest binary, its cases known to ctest.
# PER_ISA registers every case once for each kernel table that is compiled in, with TERN_ISA naming the table and the label
# isa-<table>: `ctest -L isa-portable`. The test itself reads TERN_ISA, and skips where this CPU cannot run the table.
function(tern_test name)
  cmake_parse_arguments(ARG "PER_ISA" "" "SOURCES;USES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_USES} tern_source_dir GTest::gtest_main)
  tern_options(${name})
  if(NOT ARG_PER_ISA)
    gtest_discover_tests(${name} DISCOVERY_TIMEOUT 120 NO_PRETTY_VALUES)
    return()
  endif()
  tern_isas(isas)
  foreach(isa IN LISTS isas)
    gtest_discover_tests(${name} DISCOVERY_TIMEOUT 120 NO_PRETTY_VALUES TEST_SUFFIX ".${isa}" TEST_LIST ${name}_${isa}_TESTS
      PROPERTIES ENVIRONMENT "TERN_ISA=${isa}" LABELS "isa-${isa}")
  endforeach()
endfunction()

# tern_isas(variable): the names of the kernel tables that are compiled in. kernels/isa.cmake appends its tables to the
# global property TERN_ISAS.
function(tern_isas variable)
  get_property(isas GLOBAL PROPERTY TERN_ISAS)
  list(PREPEND isas portable)
  list(REMOVE_DUPLICATES isas)
  set(${variable} ${isas} PARENT_SCOPE)
endfunction()

# tern_fuzzer(name SOURCES ... USES ...): sources with LLVMFuzzerTestOneInput, built twice: everywhere as a test that replays
# the corpus in tests/fuzz/corpus/<name>, and with TERN_BUILD_FUZZERS (clang) as the libFuzzer program fuzz_<name>.
function(tern_fuzzer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES" ${ARGN})
  set(corpus ${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${name})
  add_executable(replay_${name} ${ARG_SOURCES} ${PROJECT_SOURCE_DIR}/tests/fuzz/replay_main.cpp)
  target_link_libraries(replay_${name} PRIVATE ${ARG_USES})
  tern_options(replay_${name})
  add_test(NAME fuzz_corpus.${name} COMMAND replay_${name} ${corpus})
  if(TERN_BUILD_FUZZERS)
    add_executable(fuzz_${name} ${ARG_SOURCES})
    target_link_libraries(fuzz_${name} PRIVATE ${ARG_USES})
    tern_options(fuzz_${name})
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  endif()
endfunction()
