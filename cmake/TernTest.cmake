# How tests and fuzzers are made and made known to ctest.

# Every test that depends on the kernels runs under every table. `ctest` alone runs the best one, and portable and avx2 of what
# costs much; `ctest -C every-table` all of them.
set(TERN_USUAL_ISAS portable avx2)
# These take more than half a minute with the portable kernels.
set(TERN_SLOW_WHEN_PORTABLE speculation_test remote convert)

# tern_test(name SOURCES ... USES ... [PER_ISA | WHOLE_PER_ISA]): one gtest binary, its cases known to ctest.
# PER_ISA registers every case once for each kernel table that is compiled in, with TERN_ISA naming the table and the label
# isa-<table>: `ctest -L isa-portable`. The test itself reads TERN_ISA, and skips where this CPU cannot run the table.
# WHOLE_PER_ISA, for binaries of many cases that take their table from testing::tested_table(): the cases once with the best
# table, and the binary as a whole once for each table.
function(tern_test name)
  cmake_parse_arguments(ARG "PER_ISA;WHOLE_PER_ISA" "" "SOURCES;USES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES} ${PROJECT_SOURCE_DIR}/tests/support/clean_environment.cpp)
  target_link_libraries(${name} PRIVATE ${ARG_USES} tern_source_dir GTest::gtest_main)
  tern_options(${name})
  tern_isas(isas)
  if(ARG_WHOLE_PER_ISA)
    foreach(isa IN LISTS isas)
      tern_table_test(${name} ${isa} TERN_ISA COMMAND ${name} --gtest_brief=1)
    endforeach()
  endif()
  if(NOT ARG_PER_ISA)
    gtest_discover_tests(${name} DISCOVERY_TIMEOUT 120 NO_PRETTY_VALUES)
    return()
  endif()
  foreach(isa IN LISTS isas)
    gtest_discover_tests(${name} DISCOVERY_TIMEOUT 120 NO_PRETTY_VALUES TEST_SUFFIX ".${isa}" TEST_LIST ${name}_${isa}_TESTS
      PROPERTIES ENVIRONMENT "TERN_ISA=${isa}" LABELS "isa-${isa}")
  endforeach()
endfunction()

# tern_script(name script arguments... [PER_ISA]): a Python script that runs programs from outside. With PER_ISA once more for
# each kernel table.
function(tern_script name script)
  cmake_parse_arguments(ARG "PER_ISA" "" "" ${ARGN})
  file(STRINGS ${CMAKE_CURRENT_SOURCE_DIR}/${script} imports REGEX "^import program")
  if(NOT imports)
    message(FATAL_ERROR "${script}: expected the line \"import program\", which keeps the user's environment out of the test")
  endif()
  set(command ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/${script} ${ARG_UNPARSED_ARGUMENTS})
  add_test(NAME ${name} COMMAND ${command})
  set_tests_properties(${name} PROPERTIES ENVIRONMENT "TERN_TEST_SANITIZER=${TERN_SANITIZE}")
  if(ARG_PER_ISA)
    tern_isas(isas)
    foreach(isa IN LISTS isas)
      tern_table_test(${name} ${isa} TERN_TEST_ISA COMMAND ${command})
      set_property(TEST ${name}.${isa} APPEND PROPERTY ENVIRONMENT "TERN_TEST_SANITIZER=${TERN_SANITIZE}")
    endforeach()
  endif()
endfunction()

# tern_table_test(name isa variable COMMAND ...): the test name.isa, to which `variable` names the table; skipped where this
# processor cannot run it.
function(tern_table_test name isa variable)
  set(configurations CONFIGURATIONS every-table)
  if(isa IN_LIST TERN_USUAL_ISAS AND NOT (isa STREQUAL "portable" AND name IN_LIST TERN_SLOW_WHEN_PORTABLE))
    set(configurations)
  endif()
  add_test(NAME ${name}.${isa} ${ARGN} ${configurations})
  set_tests_properties(${name}.${isa} PROPERTIES ENVIRONMENT "${variable}=${isa}" LABELS "isa-${isa}" SKIP_RETURN_CODE 77)
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
