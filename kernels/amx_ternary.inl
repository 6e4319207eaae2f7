// Ternary products of many tokens on AMX. Included inside the unnamed namespace of amx.cpp, and of its test, which brings emulated
// tile instructions: so this file is plain C++ over a struct of tile operations, and compilers make vector code of its loops.
//
//   Tiles::configure()                 eight tiles of 16 rows x 64 bytes
//   Tiles::release()
//   Tiles::zero<tile>()
//   Tiles::load<tile>(from, stride)    rows `stride` bytes apart
//   Tiles::store<tile>(to, stride)
//   Tiles::dot<sums, x, w>()           tdpbsud: sums (16 x 16 int32) += x (16 rows x 64 int8) times w
//
// w holds 16 steps of 4 columns: row i, bytes 4 n .. 4 n + 3 are columns 4 i .. 4 i + 3 of weight row n. That is how panels with
// 16 rows in a row block lie in memory anyway: each row block of 16 consecutive steps, unpacked to a code a byte, is one tile.

namespace amx {

constexpr int32_t kTileRows = 16;
constexpr int32_t kRowBytes = 64;
constexpr int32_t kTileBytes = kTileRows * kRowBytes;
constexpr int32_t kTileCols =
    64;  // columns of the matrix that a tile of weights or activations spans
constexpr int32_t kStepCols = 4;
constexpr int32_t kStepBytes = kStepCols * kTileRows;

constexpr int32_t kTokenBlock = 512;  // tokens that meet an unpacked chunk
// 4096 columns: 256 KB of two_bit codes, which stay in the L2 cache.
constexpr int32_t kChunkTiles = 64;
// A few tokens use each tile of codes once: short chunks then stay in the L1 cache, and reading memory alternates quickly enough
// with products for prefetching to bridge them.
constexpr int32_t kFewTokens = 2 * kTileRows;
constexpr int32_t kFewChunkTiles = 8;
constexpr int32_t kPrefetchNear = 1024;  // bytes ahead, into L1
constexpr int32_t kPrefetchFar = 3072;   // bytes ahead, into L2

// ---- Formats: `bytes` packed bytes of consecutive steps as codes 0..2 (weight + 1), each row block at codes + f * distance.

inline uint32_t load_word(const uint8_t* from) {
  uint32_t word = 0;
  __builtin_memcpy(&word, from, sizeof(word));
  return word;
}

inline void store_word(uint8_t* to, uint32_t word) {
  __builtin_memcpy(to, &word, sizeof(word));
}

struct TwoBit {
  static constexpr PackedLayout kLayout{Packing::kTwoBit, 4 * kTileRows, kStepCols};
  static constexpr int kFields = 4;

  static void unpack(const uint8_t* packed, int32_t bytes, uint8_t* codes, int64_t distance) {
    for (int f = 0; f < kFields; ++f) {
      uint8_t* out = codes + f * distance;
      for (int32_t i = 0; i < bytes; i += 4) {
        store_word(out + i, (load_word(packed + i) >> (2 * f)) & 0x03030303U);
      }
    }
  }
};

struct Base3 {
  static constexpr PackedLayout kLayout{Packing::kBase3, 5 * kTileRows, kStepCols};
  static constexpr int kFields = 5;

  // The first digit of a fraction of 256 is at least 1 from 85.33 on, 2 from 170.67 on. What remains replaces the packed bytes
  // of the step before the next digit.
  static void unpack(const uint8_t* packed, int32_t bytes, uint8_t* codes, int64_t distance) {
    for (int32_t at = 0; at < bytes; at += kStepBytes) {
      uint8_t fraction[kStepBytes];
      __builtin_memcpy(fraction, packed + at, sizeof(fraction));
      for (int f = 0; f < kFields; ++f) {
        uint8_t* out = codes + f * distance + at;
        for (int32_t i = 0; i < kStepBytes; ++i) {
          out[i] = static_cast<uint8_t>((fraction[i] > 85 ? 1 : 0) + (fraction[i] > 170 ? 1 : 0));
          fraction[i] = static_cast<uint8_t>(3 * fraction[i]);
        }
      }
    }
  }
};

struct Sign {
  static constexpr PackedLayout kLayout{Packing::kSign, 8 * kTileRows, kStepCols};
  static constexpr int kFields = 8;

  static void unpack(const uint8_t* packed, int32_t bytes, uint8_t* codes, int64_t distance) {
    for (int f = 0; f < kFields; ++f) {
      uint8_t* out = codes + f * distance;
      for (int32_t i = 0; i < bytes; i += 4) {
        store_word(out + i, ((load_word(packed + i) >> f) & 0x01010101U) << 1);
      }
    }
  }
};

// ---- Memory

inline int32_t tiles_of(int32_t cols) {
  return (cols + kTileCols - 1) / kTileCols;
}

constexpr int32_t smaller(int32_t a, int32_t b) {
  return a < b ? a : b;
}

// What one thread needs for a call; all parts are multiples of a cache line.
template <class Format>
struct Scratch {
  static constexpr int32_t kRows = Format::kLayout.tile_rows;

  uint8_t* codes;  // [kFields][kChunkTiles] tiles
  int32_t* block;  // [2 * kTileRows][2 * kTileRows]: sums of 2 x 2 tiles that are finished at once
  int32_t* sums;   // [tokens][kRows]: sums that another chunk will continue
  uint8_t* x;      // [token tiles][tiles of cols] tiles of activations

  static size_t bytes(int32_t cols, int32_t tokens) {
    return code_bytes() + block_bytes() + sum_bytes(tokens) +
           static_cast<size_t>(token_tiles(tokens)) * static_cast<size_t>(tiles_of(cols)) *
               kTileBytes;
  }

  Scratch(uint8_t* memory, int32_t tokens)
      : codes(memory),
        block(reinterpret_cast<int32_t*>(codes + code_bytes())),
        sums(reinterpret_cast<int32_t*>(codes + code_bytes() + block_bytes())),
        x(codes + code_bytes() + block_bytes() + sum_bytes(tokens)) {}

 private:
  static constexpr size_t code_bytes() {
    return size_t{Format::kFields} * kChunkTiles * kTileBytes;
  }
  static constexpr size_t block_bytes() { return 4 * size_t{kTileBytes}; }
  static int32_t token_tiles(int32_t tokens) {
    return (smaller(tokens, kTokenBlock) + kTileRows - 1) / kTileRows;
  }
  static size_t sum_bytes(int32_t tokens) {
    return static_cast<size_t>(token_tiles(tokens)) * kTileRows * kRows * sizeof(int32_t);
  }
};

// The activations of a block of tokens as tiles of 16 tokens x 64 columns; tokens that do not exist are zeros. Tile rows then
// follow one another, whatever the distance of tokens was: strides near a power of two would meet in a few sets of the cache.
inline void arrange_tokens(const Q8Rows& x, int32_t first, int32_t tokens, uint8_t* out) {
  const int32_t tiles = tiles_of(x.cols);
  for (int32_t t = 0; t < (tokens + kTileRows - 1) / kTileRows * kTileRows; ++t) {
    uint8_t* to = out + int64_t{t / kTileRows} * tiles * kTileBytes + t % kTileRows * kRowBytes;
    for (int32_t tile = 0; tile < tiles; ++tile, to += kTileBytes) {
      if (t < tokens) {
        __builtin_memcpy(to, x.q + int64_t{first + t} * x.stride + tile * kTileCols, kRowBytes);
      } else {
        __builtin_memset(to, 0, kRowBytes);
      }
    }
  }
}

// ---- Sums to results

struct Columns {
  int32_t begin;
  int32_t end;
};

inline int32_t activation_sum(const Q8Rows& x, int32_t token, Columns group) {
  const int32_t* blocks = x.sums + int64_t{token} * (x.stride / kQ8SumBlock);
  int32_t sum = 0;
  for (int32_t b = group.begin / kQ8SumBlock; b * kQ8SumBlock < group.end; ++b) {
    sum += blocks[b];
  }
  return sum;
}

// A column group of a matrix, where its results go, and which of them: the first group begins a sum in y, the last scales it.
struct Group {
  const TernaryMatrix& w;
  const Q8Rows& x;
  Columns columns;
  int32_t index;
  int32_t count;
  float* y;
  int64_t y_stride;
};

// y (+)= float(sum) * scale for `rows` rows of one token: a product and a sum, never fused, so that all tables agree in every bit.
inline void finish_rows(const Group& g, int32_t token, const int32_t* sums, const float* scales,
                        int32_t rows, float* y) {
  const int32_t offset = activation_sum(g.x, token, g.columns);
  const bool first = g.index == 0;
  const float last_scale = g.index + 1 == g.count ? g.x.scale[token] : 1.0F;
  for (int32_t i = 0; i < rows; ++i) {
    const float before = first ? 0.0F : y[i];
    const float total = before + static_cast<float>(sums[i] - offset) * scales[i];
    y[i] = last_scale * total;
  }
}

template <int32_t kRows>
inline void load_scales(const Group& g, int32_t first_row, float* scales) {
  for (int32_t i = 0; i < kRows; ++i) {
    const int32_t row = first_row + i;
    scales[i] =
        row < g.w.rows ? g.w.scales[int64_t{row / g.w.rows_per_scale} * g.count + g.index] : 0.0F;
  }
}

// ---- Products

// Token tiles times row blocks over `depth` tiles of columns: at most 2 x 2 sums, tiles 0..3, beside tiles 4, 5 (x) and 6, 7 (w).
template <class Tiles, int kTokens, int kBlocks>
inline void multiply_depth(const uint8_t* x, int64_t x_distance, const uint8_t* w,
                           int64_t w_distance, int32_t depth) {
  static_assert(kTokens <= 2 && kBlocks <= 2);
  for (int32_t i = 0; i < depth; ++i, x += kTileBytes, w += kTileBytes) {
    Tiles::template load<4>(x, kRowBytes);
    Tiles::template load<6>(w, kRowBytes);
    Tiles::template dot<0, 4, 6>();
    if constexpr (kBlocks == 2) {
      Tiles::template load<7>(w + w_distance, kRowBytes);
      Tiles::template dot<1, 4, 7>();
    }
    if constexpr (kTokens == 2) {
      Tiles::template load<5>(x + x_distance, kRowBytes);
      Tiles::template dot<2, 5, 6>();
    }
    if constexpr (kTokens == 2 && kBlocks == 2) {
      Tiles::template dot<3, 5, 7>();
    }
  }
}

// The 2 x 2 sums in memory: rows of `stride` int32, a row a token.
struct SumBlock {
  int32_t* at;
  int32_t stride;

  int32_t* tile(int token, int block) const {
    return at + token * kTileRows * stride + block * kTileRows;
  }
};

template <class Tiles, int kTile, bool kLoad>
inline void move_tile(const SumBlock& sums) {
  int32_t* at = sums.tile(kTile / 2, kTile % 2);
  const int64_t stride = int64_t{sums.stride} * 4;
  if constexpr (kLoad) {
    Tiles::template load<kTile>(at, stride);
  } else {
    Tiles::template store<kTile>(at, stride);
  }
}

template <class Tiles, bool kLoad, int kTokens, int kBlocks>
inline void move_sums(const SumBlock& sums) {
  move_tile<Tiles, 0, kLoad>(sums);
  if constexpr (kBlocks == 2) {
    move_tile<Tiles, 1, kLoad>(sums);
  }
  if constexpr (kTokens == 2) {
    move_tile<Tiles, 2, kLoad>(sums);
  }
  if constexpr (kTokens == 2 && kBlocks == 2) {
    move_tile<Tiles, 3, kLoad>(sums);
  }
}

// A chunk of a column group, unpacked: which of its tiles, and whether sums begin and end with it.
struct Chunk {
  int32_t first_tile;
  int32_t tiles;
  bool first;
  bool last;
};

// What a block of tokens meets: one panel and one chunk.
template <class Tiles, class Format>
class PanelProduct {
 public:
  PanelProduct(const Group& group, const Scratch<Format>& scratch, int32_t first_row,
               int32_t first_token, int32_t tokens)
      : g_(group),
        s_(scratch),
        row_(first_row),
        token_(first_token),
        tokens_(tokens),
        x_distance_(int64_t{tiles_of(group.w.cols)} * kTileBytes) {}

  void multiply(const Chunk& chunk) {
    if (chunk.last) {
      load_scales<Format::kLayout.tile_rows>(g_, row_, scales_);
    }
    int32_t t = 0;
    for (; t + kTileRows < tokens_; t += 2 * kTileRows) {
      multiply_blocks<2, 0>(chunk, t);
    }
    if (t < tokens_) {
      multiply_blocks<1, 0>(chunk, t);
    }
  }

 private:
  template <int kTokens, int kField>
  void multiply_blocks(const Chunk& chunk, int32_t token) {
    if constexpr (kField < Format::kFields) {
      constexpr int kBlocks = kField + 1 < Format::kFields ? 2 : 1;
      multiply_tiles<kTokens, kBlocks>(chunk, token, kField);
      multiply_blocks<kTokens, kField + 2>(chunk, token);
    }
  }

  template <int kTokens, int kBlocks>
  void multiply_tiles(const Chunk& chunk, int32_t token, int32_t field) {
    constexpr int64_t kDistance = int64_t{kChunkTiles} * kTileBytes;
    constexpr int32_t kRows = Format::kLayout.tile_rows;
    const int32_t column = field * kTileRows;
    const SumBlock sums = chunk.first && chunk.last
                              ? SumBlock{s_.block, 2 * kTileRows}
                              : SumBlock{s_.sums + int64_t{token} * kRows + column, kRows};
    if (chunk.first) {
      Tiles::template zero<0>();
      Tiles::template zero<1>();
      Tiles::template zero<2>();
      Tiles::template zero<3>();
    } else {
      move_sums<Tiles, true, kTokens, kBlocks>(sums);
    }
    multiply_depth<Tiles, kTokens, kBlocks>(
        s_.x + token / kTileRows * x_distance_ + int64_t{chunk.first_tile} * kTileBytes,
        x_distance_, s_.codes + field * kDistance, kDistance, chunk.tiles);
    move_sums<Tiles, false, kTokens, kBlocks>(sums);
    if (chunk.last) {
      finish<kTokens, kBlocks>(sums, token, column);
    }
  }

  template <int kTokens, int kBlocks>
  void finish(const SumBlock& sums, int32_t token, int32_t column) {
    const int32_t rows = smaller(kBlocks * kTileRows, g_.w.rows - row_ - column);
    if (rows <= 0) {
      return;  // row blocks that only fill up the last panel
    }
    const int32_t end = smaller(token + kTokens * kTileRows, tokens_);
    for (int32_t t = token; t < end; ++t) {
      finish_rows(g_, token_ + t, sums.at + int64_t{t - token} * sums.stride, scales_ + column,
                  rows, g_.y + (token_ + t) * g_.y_stride + row_ + column);
    }
  }

  const Group& g_;
  const Scratch<Format>& s_;
  int32_t row_;
  int32_t token_;
  int32_t tokens_;
  int64_t x_distance_;
  float scales_[Format::kLayout.tile_rows];
};

// Unpacks the tiles of every row block; steps that the matrix lacks become zeros.
template <class Format>
inline void unpack_chunk(const uint8_t* panel, int32_t cols, const Chunk& chunk, uint8_t* codes) {
  constexpr int64_t kDistance = int64_t{kChunkTiles} * kTileBytes;
  const int32_t begin = chunk.first_tile * kTileBytes;
  const auto panel_end = static_cast<int32_t>(padded_cols(Format::kLayout, cols)) * kTileRows;
  for (int32_t tile = 0; tile < chunk.tiles; ++tile) {
    const uint8_t* packed = panel + begin + tile * kTileBytes;
    const int32_t bytes = smaller(kTileBytes, panel_end - begin - tile * kTileBytes);
    for (int32_t line = 0; line < kTileBytes; line += 64) {
      __builtin_prefetch(packed + kPrefetchNear + line, 0, 3);
      __builtin_prefetch(packed + kPrefetchFar + line, 0, 2);
    }
    uint8_t* out = codes + tile * kTileBytes;
    Format::unpack(packed, bytes, out, kDistance);
    for (int f = 0; f < Format::kFields && bytes < kTileBytes; ++f) {
      __builtin_memset(out + f * kDistance + bytes, 0, static_cast<size_t>(kTileBytes - bytes));
    }
  }
}

template <class Tiles, class Format>
void multiply_panel(const TernaryMatrix& w, const Q8Rows& x, int32_t row, int32_t token,
                    int32_t tokens, const Scratch<Format>& s, float* y, int64_t y_stride) {
  const uint8_t* panel = w.codes + packed_bytes(Format::kLayout, row, w.cols);
  const int32_t groups = (w.cols + w.cols_per_scale - 1) / w.cols_per_scale;
  const int32_t most = tokens <= kFewTokens ? kFewChunkTiles : kChunkTiles;
  for (int32_t i = 0; i < groups; ++i) {
    const int32_t begin = i * w.cols_per_scale;
    const int32_t end = w.cols - begin < w.cols_per_scale ? w.cols : begin + w.cols_per_scale;
    const Group group{w, x, {begin, end}, i, groups, y, y_stride};
    PanelProduct<Tiles, Format> product(group, s, row, token, tokens);
    const int32_t first = begin / kTileCols;  // groups begin where tiles do
    const int32_t tiles = tiles_of(end) - first;
    for (int32_t tile = 0; tile < tiles; tile += most) {
      const int32_t count = smaller(tiles - tile, most);
      const Chunk chunk{first + tile, count, tile == 0, tile + count == tiles};
      unpack_chunk<Format>(panel, w.cols, chunk, s.codes);
      product.multiply(chunk);
    }
  }
}

template <class Tiles, class Format>
void matmul(const TernaryMatrix& w, const Q8Rows& x, RowRange rows, float* y, int64_t y_stride,
            uint8_t* memory) noexcept {
  const Scratch<Format> scratch(memory, x.rows);
  Tiles::configure();
  for (int32_t token = 0; token < x.rows; token += kTokenBlock) {
    const int32_t tokens = smaller(x.rows - token, kTokenBlock);
    arrange_tokens(x, token, tokens, scratch.x);
    for (int32_t row = rows.begin; row < rows.end; row += Format::kLayout.tile_rows) {
      multiply_panel<Tiles, Format>(w, x, row, token, tokens, scratch, y, y_stride);
    }
  }
  Tiles::release();
}

}  // namespace amx
