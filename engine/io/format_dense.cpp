// The formats that the dense kernels read in place: geometry only (sizes from ggml's block structures).

#include "engine/io/formats.h"

namespace tern::formats {
namespace {

constexpr WeightFormat dense(std::string_view name, uint32_t ggml_type, int32_t block_weights,
                             int32_t block_bytes) {
  return {.name = name,
          .ggml_type = ggml_type,
          .block_weights = block_weights,
          .block_bytes = block_bytes,
          .extra_bytes = 0,
          .rows_are_blocks = true,
          .ternary = false};
}

}  // namespace

const WeightFormat kF32 = dense("F32", 0, 1, 4);
const WeightFormat kF16 = dense("F16", 1, 1, 2);
const WeightFormat kBf16 = dense("BF16", 30, 1, 2);
// fp16 scale, 32 x int8.
const WeightFormat kQ8_0 = dense("Q8_0", 8, 32, 2 + 32);
// fp16 scale, 32 x 4 bits.
const WeightFormat kQ4_0 = dense("Q4_0", 2, 32, 2 + 16);
// fp16 scale and minimum, 8 x (6-bit scale, 6-bit minimum), 256 x 4 bits.
const WeightFormat kQ4K = dense("Q4_K", 12, 256, 2 + 2 + 12 + 128);
// 256 x (4 low bits, 2 high bits), 16 x int8 scale, fp16 scale.
const WeightFormat kQ6K = dense("Q6_K", 14, 256, 128 + 64 + 16 + 2);

}  // namespace tern::formats
