# tern_options(target): the warnings and sanitizers that all of our own code is built with.
function(tern_options target)
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor -Wold-style-cast)
  if(TERN_WARNINGS_AS_ERRORS)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(TERN_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${TERN_SANITIZE} -fno-omit-frame-pointer
      -fno-sanitize-recover=all)
    target_link_options(${target} PUBLIC -fsanitize=${TERN_SANITIZE})
  endif()
  if(TERN_BUILD_FUZZERS)
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
  if(TERN_COVERAGE)
    target_compile_options(${target} PRIVATE --coverage -O0)
    target_link_options(${target} PUBLIC --coverage)
  endif()
endfunction()

# tern_library(name SOURCES ... USES ...): one layer as a static library, so that the linker checks the layers too.
function(tern_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES;PRIVATE_USES" ${ARGN})
  add_library(tern_${name} STATIC ${ARG_SOURCES})
  add_library(tern::${name} ALIAS tern_${name})
  set_target_properties(tern_${name} PROPERTIES EXPORT_NAME ${name} POSITION_INDEPENDENT_CODE ON)
  target_include_directories(tern_${name} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<INSTALL_INTERFACE:include/tern>)
  target_compile_features(tern_${name} PUBLIC cxx_std_20)
  target_link_libraries(tern_${name} PUBLIC ${ARG_USES} PRIVATE ${ARG_PRIVATE_USES})
  tern_options(tern_${name})
  set_property(GLOBAL APPEND PROPERTY TERN_LIBRARIES tern_${name})
endfunction()
