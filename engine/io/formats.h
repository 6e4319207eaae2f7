#pragma once
// The entries of the list in weight_format.cpp, each defined in the file of its family.

#include "engine/io/weight_format.h"

namespace tern::formats {

// format_dense.cpp
extern const WeightFormat kF32, kF16, kBf16, kQ8_0, kQ4_0, kQ4K, kQ6K;
// format_i2s.cpp
extern const WeightFormat kI2s128, kI2sArm64, kI2s1x4;
// format_tq.cpp
extern const WeightFormat kTq1_0, kTq2_0, kPtq1_0;
// format_q.cpp
extern const WeightFormat kQ1_0, kQ2_0, kQ2_0Of128, kPq2_0, kStq1_0, kStq1_0Id42;
// format_bn.cpp
extern const WeightFormat kIq1Bn, kIq2Bn, kIq2BnR4;

}  // namespace tern::formats
