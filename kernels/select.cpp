#include "kernels/select.h"

#include <array>

#include "kernels/cpu.h"
#include "kernels/tables.h"

namespace tern {
namespace {

// Best first.
constexpr std::array kCompiledTables = {
#ifdef TERN_HAVE_AMX
    &kAmxTable,
#endif
#ifdef TERN_HAVE_AVX512
    &kAvx512Table,
#endif
#ifdef TERN_HAVE_AVX512VL
    &kAvx512vlTable,
#endif
#ifdef TERN_HAVE_AVXVNNI
    &kAvxvnniTable,
#endif
#ifdef TERN_HAVE_AVX2
    &kAvx2Table,
#endif
#ifdef TERN_HAVE_NEON_I8MM
    &kNeonI8mmTable,
#endif
#ifdef TERN_HAVE_NEON_DOTPROD
    &kNeonDotprodTable,
#endif
#ifdef TERN_HAVE_NEON
    &kNeonTable,
#endif
    &kPortableTable,
};
constexpr size_t kTableCount = kCompiledTables.size();

template <class Function>
void inherit(Function*& entry, Function* from_below) {
  if (entry == nullptr) {
    entry = from_below;
  }
}

// What an instruction set does not do better, a table below it does. A matrix product and its scratch size (and layout)
// belong together, so they are inherited together.
KernelTable with_gaps_filled(KernelTable table, const KernelTable& below) {
  for (int kind = 0; kind < kTernaryKinds; ++kind) {
    if (table.ternary[kind].matmul == nullptr) {
      table.ternary[kind] = below.ternary[kind];
    }
  }
  if (table.split.matmul == nullptr) {
    table.split = below.split;
  }
  if (table.dense_matmul == nullptr) {
    table.dense_matmul = below.dense_matmul;
    table.dense_scratch_bytes = below.dense_scratch_bytes;
  }
  inherit(table.dense_row, below.dense_row);
  inherit(table.rms_norm, below.rms_norm);
  inherit(table.quantize_q8, below.quantize_q8);
  inherit(table.silu_mul, below.silu_mul);
  inherit(table.relu2_mul, below.relu2_mul);
  inherit(table.gelu_mul, below.gelu_mul);
  inherit(table.add, below.add);
  inherit(table.rope, below.rope);
  inherit(table.attention, below.attention);
  inherit(table.to_half, below.to_half);
  inherit(table.peak.ternary, below.peak.ternary);
  inherit(table.peak.dense, below.peak.dense);
  return table;
}

struct Tables {
  std::array<KernelTable, kTableCount> filled;
  std::array<const KernelTable*, kTableCount> list;

  Tables() {
    for (size_t i = kTableCount; i-- > 0;) {
      filled[i] = *kCompiledTables[i];
      for (size_t below = i + 1; below < kTableCount; ++below) {
        // Tables need not contain one another: AVX-512 processors may lack AVX-VNNI and the other way round.
        if ((filled[below].needs & ~filled[i].needs) == 0) {
          filled[i] = with_gaps_filled(filled[i], *kCompiledTables[below]);
        }
      }
      list[i] = &filled[i];
    }
  }
};

const Tables& tables() {
  static const Tables kTables;
  return kTables;
}

}  // namespace

std::span<const KernelTable* const> all_tables() {
  return tables().list;
}

bool runs_here(const KernelTable& table) {
  return (table.needs & ~cpu_features()) == 0;
}

const KernelTable* find_table(std::string_view name) {
  for (const KernelTable* table : all_tables()) {
    if (name == table->name) {
      return runs_here(*table) ? table : nullptr;
    }
  }
  return nullptr;
}

const KernelTable& best_table() {
  for (const KernelTable* table : all_tables()) {
    if (runs_here(*table)) {
      return *table;
    }
  }
  return *all_tables().back();  // not reached: the portable table needs nothing
}

}  // namespace tern
