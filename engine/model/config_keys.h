#pragma once
// Checked reading of the keys "<architecture>.<name>" of a model file.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "engine/base/result.h"
#include "engine/io/tensor_file.h"

namespace tern {

class Keys {
 public:
  // Far above every real model, and low enough that layers x width x context stays within 64 bits.
  static constexpr int64_t kLargestDimension = int64_t{1} << 24;

  Keys(const TensorFile& file, std::string_view architecture)
      : file_(file), prefix_(architecture) {}

  // An integer from 1 to `largest`; `fallback` 0 means that the key must be there.
  Result<int32_t> dimension(std::string_view name, int64_t fallback = 0,
                            int64_t largest = kLargestDimension) const;
  Result<std::optional<float>> positive(std::string_view name) const;
  // The same, or `fallback` where there is no such key.
  Result<float> positive_or(std::string_view name, float fallback) const;
  Result<std::optional<std::string_view>> text(std::string_view name) const;

  std::string full(std::string_view name) const { return prefix_ + "." + std::string(name); }
  bool has(std::string_view name) const { return file_.metadata().contains(full(name)); }

 private:
  const TensorFile& file_;
  std::string prefix_;
};

}  // namespace tern
