# cmake --install: the program, the default model, and the layers as a package that find_package(tern) finds, with targets
# tern::session and so on.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

get_property(libraries GLOBAL PROPERTY TERN_LIBRARIES)
install(TARGETS ${libraries} EXPORT ternTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS tern RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
# Headers are included by their path from the root of the repository, so include/tern stands for that root.
install(DIRECTORY engine kernels remote DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tern FILES_MATCHING PATTERN "*.h")
install(FILES models/tern-tiny.gguf models/catalog.json remote/providers.json remote/providers.schema.json DESTINATION ${CMAKE_INSTALL_DATADIR}/tern OPTIONAL)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/tern)
configure_package_config_file(cmake/ternConfig.cmake.in ternConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(ternConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(EXPORT ternTargets NAMESPACE tern:: DESTINATION ${package_dir})
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/ternConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/ternConfigVersion.cmake
  cmake/FindPcre2.cmake cmake/FindUtf8proc.cmake DESTINATION ${package_dir})
