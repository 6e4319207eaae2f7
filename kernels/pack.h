#pragma once
// Trits <-> any PackedLayout: the only code that permutes weights.

#include <cstdint>

#include "kernels/layout.h"

namespace tern {

// Packs rows [panel * tile_rows, ...) of a rows x cols trit matrix into `panel_out`, one panel of packed bytes.
// `trits`: the panel's rows, row-major, values -1, 0, 1 (kSign: not 0); `panel_rows` of them exist (less than tile_rows in the last
// panel).
void pack_panel(const PackedLayout& layout, const int8_t* trits, int32_t panel_rows, int32_t cols,
                uint8_t* panel_out);
// The inverse: writes panel_rows x cols trits.
void unpack_panel(const PackedLayout& layout, const uint8_t* panel, int32_t panel_rows,
                  int32_t cols, int8_t* trits);

// Bytes of one panel, and so the distance between panels.
constexpr size_t panel_bytes(const PackedLayout& layout, int64_t cols) {
  return packed_bytes(layout, layout.tile_rows, cols);
}

}  // namespace tern
