#pragma once
// Logits in tests/golden/*/NAME.f32, for the tokens in the manifest.json beside them.

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/select.h"
#include "tests/support/logits.h"
#include "tests/support/source_dir.h"
#include "tests/support/tested_table.h"

namespace tern::testing {

inline const std::filesystem::path kGolden = source_path("tests/golden");

struct Golden {
  std::vector<int32_t> tokens;
  size_t vocab = 0;
  std::vector<float> logits;  // of the last tokens
};

inline Golden read_golden(const std::string& name) {
  const auto manifest =
      nlohmann::json::parse(std::ifstream((kGolden / name).parent_path() / "manifest.json"));
  Golden golden{manifest["tokens"], manifest["vocabulary"], {}};
  golden.logits.resize(std::filesystem::file_size(kGolden / (name + ".f32")) / sizeof(float));
  std::ifstream in(kGolden / (name + ".f32"), std::ios::binary);
  in.read(reinterpret_cast<char*>(golden.logits.data()),
          static_cast<std::streamsize>(golden.logits.size() * sizeof(float)));
  if (!in || golden.logits.size() % golden.vocab != 0 || golden.logits.empty()) {
    throw std::runtime_error(name + ".f32 does not hold whole rows of logits");
  }
  return golden;
}

// How far the last logits of passes of `batch` tokens are from transformers'.
inline double distance(const std::filesystem::path& file, const Golden& golden, int32_t batch,
                       std::optional<Activations> activations = {}) {
  const TensorFile opened = std::move(TensorFile::open(file)).value();
  std::vector<float> logits =
      DecoderRunner(opened, testing::tested_table(), 2, activations).logits(golden.tokens, batch);
  logits.erase(logits.begin(), logits.end() - static_cast<int64_t>(golden.logits.size()));
  return overall(differences(logits, golden.logits, golden.vocab));
}

}  // namespace tern::testing
