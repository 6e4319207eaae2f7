#pragma once
// Matrices that GPTQ rounded to 2, 3, 4 or 8 bits, in the layout of AutoGPTQ, which OneCompression (JointQ, RTN and AutoBit too) writes:
//   qweight  I32, cols * bits / 32 x rows   codes of a row along its columns, the first in the lowest bits, in one stream of bits
//   qzeros   I32, groups x rows * bits / 32  codes of a group's zeros along the rows, packed so as well
//   scales   floats, groups x rows
//   g_idx    I32, cols                       the group of each column
// weight = scale * (code - zero).

#include <cstdint>
#include <vector>

#include "engine/base/result.h"
#include "engine/io/safetensors.h"

namespace tern::gptq {

struct Parts {
  const safetensors::Entry* qweight = nullptr;
  const safetensors::Entry* qzeros = nullptr;
  const safetensors::Entry* scales = nullptr;
  const safetensors::Entry* g_idx = nullptr;
  bool zeros_less_one = true;  // the first version of the format holds zero - 1
};

struct Matrix {
  int64_t rows = 0, cols = 0;
  int64_t bits = 0;              // of a code
  std::vector<uint16_t> halves;  // row by row, each weight the nearest half
};

// Errors: parts that do not fit each other, groups that are not there, weights beyond the range of halves; each names the tensor.
Result<Matrix> dequantise(const Parts& parts);

}  // namespace tern::gptq
