#include "engine/model/hadamard_matrix.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <string>

namespace tern {
namespace {

// Entries of a matrix of signs, by row and column.
class Signs {
 public:
  explicit Signs(int32_t order)
      : order_(order), values_(static_cast<size_t>(order) * static_cast<size_t>(order), 1.0F) {}

  float& at(int32_t row, int32_t col) {
    return values_[static_cast<size_t>(row) * static_cast<size_t>(order_) +
                   static_cast<size_t>(col)];
  }
  std::vector<float> take() { return std::move(values_); }

 private:
  int32_t order_;
  std::vector<float> values_;
};

// Quadratic character of the field of q elements, q prime: 0 for 0, 1 for squares, -1 for others.
std::vector<float> quadratic_character(int32_t q) {
  std::vector<float> chi(static_cast<size_t>(q), -1.0F);
  chi[0] = 0;
  for (int32_t i = 1; i < q; ++i) {
    chi[static_cast<size_t>(i * i % q)] = 1;
  }
  return chi;
}

float character_of_difference(const std::vector<float>& chi, int32_t i, int32_t j) {
  const auto q = static_cast<int32_t>(chi.size());
  return chi[static_cast<size_t>((i - j + q) % q)];
}

// Paley's first construction, of order q + 1 for a prime q = 3 mod 4.
Signs paley_one(int32_t q) {
  const std::vector<float> chi = quadratic_character(q);
  Signs h(q + 1);
  for (int32_t i = 1; i <= q; ++i) {
    h.at(0, i) = -1;
    for (int32_t j = 1; j <= q; ++j) {
      h.at(i, j) = i == j ? 1.0F : character_of_difference(chi, i, j);
    }
  }
  return h;
}

// Paley's second, of order 2 (q + 1) for a prime q = 1 mod 4: (C + I, C - I; C - I, -C - I), with C the conference matrix of q.
Signs paley_two(int32_t q) {
  const std::vector<float> chi = quadratic_character(q);
  const int32_t half = q + 1;
  Signs h(2 * half);
  for (int32_t i = 0; i < half; ++i) {
    for (int32_t j = 0; j < half; ++j) {
      const bool border = (i == 0) != (j == 0);
      const float c = border ? 1.0F : i == 0 ? 0.0F : character_of_difference(chi, i, j);
      const float diagonal = i == j ? 1.0F : 0.0F;
      h.at(i, j) = c + diagonal;
      h.at(i, j + half) = c - diagonal;
      h.at(i + half, j) = c - diagonal;
      h.at(i + half, j + half) = -c - diagonal;
    }
  }
  return h;
}

// (H, H; H, -H) of a matrix H.
Signs doubled(Signs half, int32_t order) {
  Signs h(2 * order);
  for (int32_t i = 0; i < 2 * order; ++i) {
    for (int32_t j = 0; j < 2 * order; ++j) {
      h.at(i, j) = half.at(i % order, j % order) * (i >= order && j >= order ? -1.0F : 1.0F);
    }
  }
  return h;
}

// Williamson's construction, of order 4 n for odd n, from four symmetric circulant matrices. Such quadruples are found by
// search, so what was found is written here: the entries 0 to n / 2 of the first rows, + as 1, the first in the highest bit.
Signs williamson(int32_t n, const std::array<uint32_t, 4>& rows) {
  constexpr int kBlock[4][4] = {{0, 1, 2, 3}, {1, 0, 3, 2}, {2, 3, 0, 1}, {3, 2, 1, 0}};
  constexpr float kSign[4][4] = {{1, 1, 1, 1}, {-1, 1, -1, 1}, {-1, 1, 1, -1}, {-1, -1, 1, 1}};
  Signs h(4 * n);
  for (int32_t i = 0; i < 4 * n; ++i) {
    for (int32_t j = 0; j < 4 * n; ++j) {
      const int32_t distance = std::abs(i % n - j % n);
      const int32_t entry = std::min(distance, n - distance);
      const uint32_t row = rows[static_cast<size_t>(kBlock[i / n][j / n])];
      const bool plus = ((row >> static_cast<uint32_t>(n / 2 - entry)) & 1U) != 0;
      h.at(i, j) = kSign[i / n][j / n] * (plus ? 1.0F : -1.0F);
    }
  }
  return h;
}

// The orders in the sequence in which OneCompression tries them: the first that divides a size is taken.
constexpr std::array<int32_t, 15> kOrders = {172, 156, 140, 108, 100, 76, 68, 60,
                                             52,  44,  40,  36,  28,  20, 12};

std::vector<float> matrix_of_order(int32_t order) {
  switch (order) {
    case 172:
      return williamson(43, {0b1000110011110101110110, 0b1101111110000101001101,
                             0b1110101100101011110100, 0b1100011110100100110000})
          .take();
    case 156:
      return williamson(39, {0b11100101000001001100, 0b11110001001100001010, 0b11100110100010100100,
                             0b10001101010000011101})
          .take();
    case 100:
      return williamson(25, {0b1011110000110, 0b1110111000101, 0b1011011101100, 0b1001101010000})
          .take();
    case 52:
      return williamson(13, {0b1010011, 0b1000111, 0b1101001, 0b1000010}).take();
    case 40:
      return doubled(paley_one(19), 20).take();
    case 28:
    case 36:
    case 76:
      return paley_two(order / 2 - 1).take();
    default:
      return paley_one(order - 1).take();  // one less is a prime
  }
}

}  // namespace

Result<HadamardMatrix> hadamard_matrix_for(int32_t size) {
  TERN_CHECK(size >= 1, "a vector to be transformed has at least one value");
  const auto order = std::ranges::find_if(kOrders, [&](int32_t each) { return size % each == 0; });
  HadamardMatrix matrix;
  matrix.order = order == kOrders.end() ? 1 : *order;
  if (!std::has_single_bit(static_cast<uint32_t>(size / matrix.order))) {
    return Error{
        "expected a width that is a power of two, or one times 12, 20, 28, 36, 40, 44, 52, "
        "60, 68, 76, 100, 108, 140, 156 or 172, found " +
        std::to_string(size) + ": no Hadamard matrix of that size is known to Tern."};
  }
  if (matrix.order > 1) {
    matrix.values = matrix_of_order(matrix.order);
  }
  return matrix;
}

}  // namespace tern
