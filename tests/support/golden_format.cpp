#include "tests/support/golden_format.h"
#include "tests/support/source_dir.h"

#include <array>
#include <fstream>
#include <stdexcept>

namespace tern::testing {

GoldenFormat read_golden_format(const std::string& name) {
  const std::string path = source_path("tests/golden/formats/" + name + ".bin").string();
  std::ifstream file(path, std::ios::binary);
  std::array<uint32_t, 4> header{};
  const auto read = [&](void* data, size_t size) {
    if (!file.read(static_cast<char*>(data), static_cast<std::streamsize>(size))) {
      throw std::runtime_error("cannot read " + path);
    }
  };
  read(header.data(), sizeof header);
  GoldenFormat golden{header[0], header[1], header[2], {}, {}};
  golden.data.resize(header[3]);
  golden.values.resize(size_t{header[1]} * header[2]);
  read(golden.data.data(), golden.data.size());
  read(golden.values.data(), golden.values.size() * sizeof(float));
  return golden;
}

}  // namespace tern::testing
