#include "kernels/split_pack.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace tern {
namespace {

constexpr int32_t kGroupColumns = kSplitBlock / kSplitGroups;
constexpr int32_t kQ6KBlockBytes = 210;

// 256 codes 0..63 in order of columns, 16 scales, d.
struct Block {
  uint8_t q[kSplitBlock];
  int8_t scale[kSplitGroups];
  Half d;
};

// Exact; every half is a float.
float float_of_half(Half h) {
  const uint32_t exponent = (h >> 10) & 31;
  const auto mantissa = static_cast<float>(h & 1023);
  const float sign = (h & 0x8000) != 0 ? -1.0F : 1.0F;
  if (exponent == 31) {
    return std::numeric_limits<float>::quiet_NaN();  // not finite: callers only ask whether it is
  }
  return exponent == 0 ? sign * std::ldexp(mantissa, -24)
                       : sign * std::ldexp(1024.0F + mantissa, static_cast<int>(exponent) - 25);
}

// The half nearest to a finite x whose magnitude a half can hold, or (not in a range of interest here) a neighbour of it.
Half half_of_float(float x) {
  if (x == 0.0F) {
    return 0;
  }
  int exponent = 0;
  std::frexp(x, &exponent);  // |x| in [2^(exponent - 1), 2^exponent)
  const int last_place = std::max(exponent - 11, -24);
  const auto units = static_cast<uint32_t>(std::lround(std::ldexp(std::fabs(x), -last_place)));
  // units = 1024..2048 at this exponent, less if subnormal; a carry moves into the exponent by itself.
  const auto biased = static_cast<uint32_t>(last_place + 24);
  return static_cast<Half>((x < 0 ? 0x8000U : 0U) + (biased << 10) + units);
}

// The squares of a row's norms so far. A block's are added up in integers, in units of d / 2; the doubles' rounding (2^-53 a step) is
// far below the step to the next float.
struct Squares {
  double coarse = 0.0;
  double fine = 0.0;

  void add(const Block& block, float d) {
    int64_t coarse_units = 0;
    int64_t fine_units = 0;
    for (int32_t i = 0; i < kSplitBlock; ++i) {
      const int64_t scale = block.scale[i / kGroupColumns];
      const int64_t coarse_part = scale * (8 * (block.q[i] >> 2) - 61);
      const int64_t fine_part = scale * (2 * (block.q[i] & 3) - 3);
      coarse_units += coarse_part * coarse_part;
      fine_units += fine_part * fine_part;
    }
    const double unit = 0.25 * static_cast<double>(d) * static_cast<double>(d);
    coarse += unit * static_cast<double>(coarse_units);
    fine += unit * static_cast<double>(fine_units);
  }
  SplitNorms norms() const { return {rounded_up(std::sqrt(coarse)), rounded_up(std::sqrt(fine))}; }

  static float rounded_up(double norm) {
    const auto nearest = static_cast<float>(norm);
    return nearest == 0.0F ? 0.0F : std::nextafter(nearest, std::numeric_limits<float>::infinity());
  }
};

void write_block(const Block& block, int32_t index, const SplitMatrix& shape,
                 const SplitRowBytes& out) {
  uint8_t* coarse = out.coarse + static_cast<size_t>(index) * kCoarseBlockBytes;
  uint8_t* fine = out.fine + static_cast<size_t>(index) * kFineBlockBytes;
  for (int32_t i = 0; i < 64; ++i) {
    // Byte i of a field is column 16 (i / 4) + 4 field + i % 4.
    const uint8_t* q = block.q + 16 * (i / 4) + i % 4;
    for (int32_t pair = 0; pair < 2; ++pair) {
      coarse[64 * pair + i] =
          static_cast<uint8_t>((q[8 * pair] >> 2) | ((q[8 * pair + 4] >> 2) << 4));
    }
    fine[i] = static_cast<uint8_t>((q[0] & 3) | ((q[4] & 3) << 2) | ((q[8] & 3) << 4) |
                                   ((q[12] & 3) << 6));
  }
  std::memcpy(out.coarse + shape.scales_at() + index * kSplitGroups, block.scale, kSplitGroups);
  std::memcpy(out.coarse + shape.halves_at() + index * 2, &block.d, sizeof(Half));
}

Block read_q6_k(const uint8_t* from) {
  Block block;
  for (int32_t half = 0; half < 2; ++half) {
    const uint8_t* low = from + 64 * half;
    const uint8_t* high = from + 128 + 32 * half;
    for (int32_t j = 0; j < 32; ++j) {
      for (int32_t quarter = 0; quarter < 4; ++quarter) {
        const int nibble = (low[32 * (quarter % 2) + j] >> (quarter < 2 ? 0 : 4)) & 15;
        const int top = (high[j] >> (2 * quarter)) & 3;
        block.q[128 * half + 32 * quarter + j] = static_cast<uint8_t>(nibble | (top << 4));
      }
    }
  }
  std::memcpy(block.scale, from + 192, kSplitGroups);
  std::memcpy(&block.d, from + 208, sizeof(Half));
  return block;
}

// Rounds x / step to codes -32..31, step != 0.
float code_of(float x, float inverse) {
  // Adding 1.5 * 2^23 rounds to the nearest integer; clamped before, so that the sum keeps its last place.
  const float scaled = x * inverse;
  const float above = scaled > -32.0F ? scaled : -32.0F;
  const float clamped = above < 31.0F ? above : 31.0F;
  return (clamped + 0x1.8p23F) - 0x1.8p23F;
}

// What a step makes of 16 weights: for the codes that it rounds them to, the step of least squared error is xq / qq, and xq * xq / qq
// of the squares of the weights is then without error.
struct Fit {
  float xq = 0.0F;
  float qq = 0.0F;

  Fit(const float* x, float step) {
    const float inverse = 1.0F / step;
    // Four sums side by side: compilers may make vectors of them.
    float xqs[4] = {};
    float qqs[4] = {};
    for (int32_t i = 0; i < kGroupColumns; i += 4) {
      for (int32_t j = 0; j < 4; ++j) {
        const float q = code_of(x[i + j], inverse);
        xqs[j] += x[i + j] * q;
        qqs[j] += q * q;
      }
    }
    xq = (xqs[0] + xqs[1]) + (xqs[2] + xqs[3]);
    qq = (qqs[0] + qqs[1]) + (qqs[2] + qqs[3]);
  }
  float step() const { return qq > 0.0F ? xq / qq : 0.0F; }
  float explained() const { return qq > 0.0F ? xq * xq / qq : 0.0F; }
};

// The step that quantises 16 weights with small squared error: the best of several that give the largest weight one of the lowest
// codes, once codes and step have been fitted to each other.
float best_step(const float* x) {
  float extreme = 0.0F;
  for (int32_t i = 0; i < kGroupColumns; ++i) {
    if (std::fabs(x[i]) > std::fabs(extreme)) {
      extreme = x[i];
    }
  }
  if (extreme == 0.0F) {
    return 0.0F;
  }
  float best = 0.0F;
  float most = 0.0F;
  for (const float code : {-32.0F, -31.0F, -30.0F, -29.0F}) {
    const Fit first(x, extreme / code);
    if (first.step() == 0.0F) {
      continue;
    }
    const Fit second(x, first.step());
    if (second.explained() > most) {
      most = second.explained();
      best = second.step();
    }
  }
  return best;
}

// Quantises 256 floats. The largest step of a block has the scale 127 or -127.
Block quantize_block(const float* x) {
  Block block;
  float steps[kSplitGroups];
  float largest = 0.0F;
  for (int32_t g = 0; g < kSplitGroups; ++g) {
    steps[g] = best_step(x + g * kGroupColumns);
    largest = std::max(largest, std::fabs(steps[g]));
  }
  block.d = half_of_float(largest / 127.0F);
  const float d = float_of_half(block.d);
  for (int32_t g = 0; g < kSplitGroups; ++g) {
    const float scale = d == 0.0F ? 0.0F : std::nearbyint(steps[g] / d);
    block.scale[g] = static_cast<int8_t>(std::clamp(scale, -128.0F, 127.0F));
    const float step = d * static_cast<float>(block.scale[g]);
    const float inverse = step == 0.0F ? 0.0F : 1.0F / step;
    for (int32_t i = 0; i < kGroupColumns; ++i) {
      const int32_t at = g * kGroupColumns + i;
      block.q[at] = static_cast<uint8_t>(code_of(x[at], inverse) + 32.0F);
    }
  }
  return block;
}

}  // namespace

bool split_q6_k_row(const uint8_t* blocks, const SplitMatrix& shape, const SplitRowBytes& out) {
  Squares squares;
  for (int32_t b = 0; b < shape.blocks(); ++b) {
    const Block block = read_q6_k(blocks + static_cast<size_t>(b) * kQ6KBlockBytes);
    const float d = float_of_half(block.d);
    if (!std::isfinite(d)) {
      return false;
    }
    squares.add(block, d);
    write_block(block, b, shape, out);
  }
  *out.norms = squares.norms();
  return true;
}

bool split_float_row(const float* weights, const SplitMatrix& shape, const SplitRowBytes& out) {
  // Steps are about max|w| / 32, d a 127th of that: this leaves room below the largest half, 65504.
  constexpr float kLargest = 1e8F;
  Squares squares;
  for (int32_t b = 0; b < shape.blocks(); ++b) {
    float padded[kSplitBlock] = {};
    const int32_t count = std::min(kSplitBlock, shape.cols - b * kSplitBlock);
    for (int32_t i = 0; i < count; ++i) {
      padded[i] = weights[b * kSplitBlock + i];
      if (!(std::fabs(padded[i]) <= kLargest)) {
        return false;
      }
    }
    const Block block = quantize_block(padded);
    squares.add(block, float_of_half(block.d));
    write_block(block, b, shape, out);
  }
  *out.norms = squares.norms();
  return true;
}

namespace {

// Sums of squares: of q, of its lower part, and of what rounding leaves of screen_offset.
struct InputSquares {
  int64_t q = 0;
  int64_t low = 0;
  double offset = 0.0;
};
// The same over an input, each block's times its unit.
struct InputNorms {
  double q = 0.0;
  double low = 0.0;
  double offset = 0.0;

  void add(const InputSquares& block, double unit) {
    q += unit * unit * static_cast<double>(block.q);
    low += unit * unit * static_cast<double>(block.low);
    offset += unit * unit * block.offset;
  }
};

// Splits q, the block's 256 integers in order of columns.
InputSquares split_block(const int32_t* q, SplitInputBlock& out) {
  InputSquares squares;
  for (int32_t g = 0; g < kSplitGroups; ++g) {
    int32_t sum = 0;
    int32_t high_sum = 0;
    for (int32_t i = 0; i < kGroupColumns; ++i) {
      const int32_t value = q[g * kGroupColumns + i];
      const int32_t high = (value + 64) >> 7;  // leaves -64 to 63
      const int32_t low = value - 128 * high;
      out.high[i / 4][4 * g + i % 4] = static_cast<int8_t>(high);
      out.low[i / 4][4 * g + i % 4] = static_cast<int8_t>(low);
      sum += value;
      high_sum += high;
      squares.q += int64_t{value} * value;
      squares.low += int64_t{low} * low;
    }
    out.offset[g] = -32 * sum;
    const double exact = -30.5 / 4.0 * high_sum;
    const auto rounded = static_cast<int32_t>(std::nearbyint(exact));
    out.screen_offset[g][0] = static_cast<int16_t>(rounded / 2);
    out.screen_offset[g][1] = static_cast<int16_t>(rounded - rounded / 2);
    squares.offset += (rounded - exact) * (rounded - exact);
  }
  return squares;
}

// The unit of a block of `count` values, and its integers.
float quantize_input_block(const float* x, int32_t count, float inverse, int32_t* q) {
  constexpr auto kLevels = static_cast<float>(kSplitLevels);
  constexpr float kLeastUnit = 0x1p-14F;
  const auto level = [&](int32_t i) {
    const float scaled = x[i] * inverse;
    const float number = scaled == scaled ? scaled : 0.0F;
    return std::min(kLevels, std::max(-kLevels, number));
  };
  float most = 0.0F;
  for (int32_t i = 0; i < count; ++i) {
    most = std::max(most, std::fabs(level(i)));
  }
  float unit = 1.0F;
  while (unit > kLeastUnit && most <= kLevels * 0.5F * unit) {
    unit *= 0.5F;
  }
  for (int32_t i = 0; i < count; ++i) {
    q[i] = static_cast<int32_t>((level(i) / unit + 0x1.8p23F) - 0x1.8p23F);  // half to even
  }
  return unit;
}

// How far screening can be from the products. With w the coarse parts of a row, v its fine parts, u = d * scale of its
// groups and r what rounding added to their screen_offset, q, high, low and r being times their block's unit, the product and the
// estimate are, but for rounding,
//
//   w . (128 high + low) + v . q    and    w . 128 high + 512 u . r,
//
// so they differ by at most |w| |low| + 512 |u| |r| + |v| |q|. No |4 coarse - 30.5| is below 1.5, so a group's |w| is at
// least 4 * 1.5 |u|: 512 |u| |r| <= |w| (512 / 6) |r|. That makes `missing` below times |w|, and |q| times |v|.
//
// Rounding: e = 2^-24. Each sum is of terms that were rounded m times at most: products with scale and d, the additions of their
// lane (2 a block) and of the lanes, m = 2 blocks + 16. Cauchy-Schwarz again bounds the sums of the terms' magnitudes: (|w| + |v|) |q|
// in the product, |w| (|q| + missing) in the estimate. (1 + e)^m < 1 + 2 m e while m < 2^22. Four more for the bound's own
// arithmetic and for norms in doubles.
void set_errors(const InputNorms& squares, int32_t blocks, SplitInput& out) {
  const double q = std::sqrt(squares.q);
  const double missing = std::sqrt(squares.low) + 512.0 / 6.0 * std::sqrt(squares.offset);
  const double rounding = (2.0 * blocks + 16.0 + 4.0) * 0x1p-23;
  out.coarse_error = Squares::rounded_up(missing + rounding * (2.0 * q + missing));
  out.fine_error = Squares::rounded_up(q + rounding * q);
}

}  // namespace

SplitInput split_input(const float* x, const SplitMatrix& shape, SplitInputBlock* blocks,
                       float* units) {
  constexpr auto kLevels = static_cast<float>(kSplitLevels);
  float max = 1e-5F;
  for (int32_t i = 0; i < shape.cols; ++i) {
    max = std::fabs(x[i]) > max ? std::fabs(x[i]) : max;
  }
  const float inverse = kLevels / max;
  InputNorms squares;
  std::fill(units, units + shape.units(), 1.0F);
  for (int32_t b = 0; b < shape.blocks(); ++b) {
    int32_t q[kSplitBlock] = {};
    const int32_t count = std::min(kSplitBlock, shape.cols - b * kSplitBlock);
    units[b] = quantize_input_block(x + b * kSplitBlock, count, inverse, q);
    squares.add(split_block(q, blocks[b]), static_cast<double>(units[b]));
  }
  SplitInput input{blocks, units, max / kLevels};
  set_errors(squares, shape.blocks(), input);
  return input;
}

}  // namespace tern
