# Builds for 64-bit ARM with Debian's cross compiler (g++-aarch64-linux-gnu), and runs the tests under qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)  # which googletest asks for
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
# The environment variable QEMU_CPU chooses the processor; without it, one with every feature.
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu)
# Headers alone serve every processor, but Debian keeps xsimd's package file among the building machine's own.
set(xsimd_DIR /usr/lib/${CMAKE_HOST_SYSTEM_PROCESSOR}-linux-gnu/cmake/xsimd CACHE PATH "Where xsimdConfig.cmake lies")
