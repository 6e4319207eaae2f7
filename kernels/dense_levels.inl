// What the 4-bit codes of IQ4_NL and MXFP4 stand for. Included inside the unnamed namespace of an instruction-set file.

// Denser near zero, where normally distributed weights are.
alignas(16) constexpr int8_t kIq4NlLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                 1,    13,   25,  38,  53,  69,  89,  113};
// Twice the floats of one sign, two exponent and one fraction bit: 0, 0.5, 1, 1.5, 2, 3, 4, 6, then their negatives.
alignas(16) constexpr int8_t kMxfp4Levels[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                                 0, -1, -2, -3, -4, -6, -8, -12};

// 2^(e - 128): exact, the two smallest as subnormal floats.
inline float mxfp4_scale(uint8_t e) {
  const uint32_t bits = e < 2 ? uint32_t{0x00200000} << e : uint32_t{e - 1U} << 23;
  float scale = 0.0F;
  __builtin_memcpy(&scale, &bits, sizeof(scale));
  return scale;
}
