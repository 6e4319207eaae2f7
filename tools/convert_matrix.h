#pragma once
// One matrix on its way from the format that it lies in to another: rows in, bytes out, on any number of threads, and what was
// lost on the way.

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "engine/io/tensor_file.h"

namespace tern::cli {

// Heads of values that Hugging Face groups by their key head, and GGUF files tile: there head h reads key head h % keys. Beginning with
// row or column `first`, `size` of them a head.
struct ValueHeads {
  int64_t keys = 0;  // 0: nothing is reordered
  int64_t values = 0;
  int64_t first = 0;
  int64_t size = 0;

  // Where row or column `index` of the result lies.
  int64_t source(int64_t index) const;
};

// A matrix of a file. Its format may be another than the tensor's: floats that were found to be ternary, say.
struct MatrixSource {
  const Tensor* tensor = nullptr;
  const WeightFormat* format = nullptr;
  float scale = 1;  // that a tensor beside it holds; multiplied in
  float mean = 0;   // of magnitudes, for formats that round by it
  int64_t heads =
      0;  // where not 0: rows of each head come as two halves, and become pairs of neighbours
  ValueHeads value_rows = {};
  ValueHeads value_cols = {};

  // Where row `row` of the result lies.
  int64_t row(int64_t row) const;
  bool moves_rows() const { return heads != 0 || value_rows.keys != 0; }
  bool moves() const { return moves_rows() || value_cols.keys != 0; }
};

// Whether every weight of floats in `format` (a ".../ternary" one) really is ternary.
bool is_ternary_throughout(const Tensor& tensor, const WeightFormat& format, int threads);

// WeightFormat::cols_per_scale of a packed format that holds the matrix's scales to the bit, as Weights would keep them: one, one
// a row, or those of the source's groups.
int32_t packed_scale_columns(const MatrixSource& source, int threads);

// Ternary to ternary: the same trits; scales carried to the bit where the target's grid can hold them, else the mean of those
// that must share one. Floats to ternary: rounded as BitNet does, by the mean magnitude of what shares a scale. Anything to
// floats: the value.
class MatrixConversion {
 public:
  // `to`: a format with pack() if ternary, with encode() if dense.
  MatrixConversion(const MatrixSource& source, const WeightFormat& to, int threads);

  // The fewest rows that fill whole blocks of the target: what rows() is called for is a multiple of it, but for the last.
  int64_t row_step() const { return row_step_; }
  uint64_t bytes_of_rows(int64_t count) const;
  // Rows [begin, begin + count) of the result as the target's bytes. May run on several threads at once.
  void rows(int64_t begin, int64_t count, std::byte* out);

  // After all rows: what the target could not hold, or "" if nothing was lost. Errors: the source is damaged.
  Result<std::string> loss() const;
  // After all rows: the one scale of the tensor, where the target has only one.
  float tensor_scale() const;
  // After all rows: the scales of a target that keeps them apart.
  std::span<const float> scales() const { return scales_; }

 private:
  struct Findings;
  struct Grid {
    std::vector<int8_t> trits;
    std::vector<float> scales;  // of each row, groups of `width` columns
    int64_t width = 0;
  };
  bool read_grid(int64_t begin, int64_t count, Grid& grid, Findings& found) const;
  void read_floats(int64_t begin, int64_t count, std::span<float> out, Findings& found) const;
  void move_columns(int64_t count, Grid& grid) const;
  void round_floats(std::span<const float> floats, Grid& grid, Findings& found) const;
  void regroup(int64_t count, Grid& grid, Findings& found) const;
  void keep_signs(int64_t count, Grid& grid, Findings& found) const;
  void pack(int64_t begin, int64_t count, Grid& grid, Findings& found, std::byte* out);
  void encode(std::span<const float> floats, Findings& found, std::byte* out) const;

  enum Loss : unsigned {
    kSeveralScales = 1,  // where the target has one
    kRoundedScale = 2,   // a float where the target has a half
    kZeros = 4,          // that the target has no code for
    kFloats = 8,         // that are not ternary
    kRoundedWeight = 16  // a float that the target's cannot hold
  };
  // What was seen in some rows, or in all.
  struct Findings {
    unsigned losses = 0;
    bool bad_code = false;
    bool not_finite = false;
    // Of a target with one scale a tensor: the first one met, and the mean over weights that are not 0.
    bool any_scale = false;
    float scale = 0;
    double sum = 0;
    double count = 0;
    void add_scale(float value, double weights);
    void merge(const Findings& other);
  };

  MatrixSource source_;
  const WeightFormat& to_;
  int64_t rows_;
  int64_t cols_;
  int64_t row_step_ = 1;
  float whole_mean_ = 0;  // of floats that become ternary with one scale
  std::vector<float> scales_;
  std::mutex mutex_;
  Findings found_;
};

}  // namespace tern::cli
