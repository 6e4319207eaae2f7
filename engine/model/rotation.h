#pragma once
// Weights that were rotated before they were rounded: each row w became H (s w), so that its products want the input H (s x) as well.
// Of Bonsai 2 (keys "prism.hadamard.*") with signs s and Sylvester's matrix H over blocks of it; of OneCompression in the
// down projections alone (what else it rotates needs nothing at run time), without signs, H over the whole row.

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/io/tensor_file.h"

namespace tern {

// How one input is to be rotated; block 0: not at all. Points into Rotations.
struct Rotation {
  int32_t block = 0;
  std::span<const float> signs = {};  // one a value, or empty: all +1
  // K where H is (K (x) Sylvester's matrix of a block) over the whole row, divided by the root of its length; or empty.
  std::span<const float> matrix = {};
};

// What a file says of all its weights.
struct Rotations {
  int32_t block = 0;                            // 0: nothing is rotated
  std::map<int64_t, std::vector<float>> signs;  // by the width of the input
  std::set<std::string, std::less<>> weights;   // those whose input is rotated
  bool embedding =
      false;  // rows of the token embedding are rotated, and are turned back when they are looked up
  bool grouped_values = false;  // columns of ssm_out keep the order of groups of a key head
  std::vector<float> matrix;    // Rotation::matrix of all of them

  Rotation of(std::string_view weight, int64_t width) const;
  // What turns back the embedding.
  Rotation of_embedding(int64_t width) const;

 private:
  Rotation of_width(int64_t width) const;
};

// Errors: a key that Tern does not know or whose value it cannot honour, by name: to run such a file in another way would print
// fluent nonsense.
Result<Rotations> read_rotations(const TensorFile& file);

}  // namespace tern
