// The kernels' own layouts in a file (tern convert --type tern). Truth is the model that was converted: its logits to the last bit,
// and trits that were packed by the only code that orders them for the kernels.

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "engine/io/formats.h"
#include "engine/io/gguf_packed.h"
#include "kernels/pack.h"
#include "kernels/select.h"
#include "tests/support/logits.h"
#include "tests/support/source_dir.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tested_table.h"
#include "tools/convert_model.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = testing::source_path("tests/golden");

std::vector<int32_t> tokens() {
  return nlohmann::json::parse(std::ifstream(kGolden / "models/manifest.json"))["tokens"];
}

std::vector<const WeightFormat*> all_packed() {
  std::vector<const WeightFormat*> all;
  for (uint32_t type = formats::kPackedType; type < formats::kSplitHeadType; ++type) {
    std::ranges::copy(formats::packed_formats(type), std::back_inserter(all));
  }
  return all;
}

TEST(PackedFormats, HoldEveryLayoutOfEveryTable) {
  for (const KernelTable* table : all_tables()) {
    for (const TernaryKernel& kernel : table->ternary) {
      EXPECT_EQ(stored_layout(stored_format(kernel.layout)), kernel.layout) << table->name;
    }
  }
}

TEST(PackedFormats, ReadWhatThePackerWrites) {
  std::mt19937 random(1);
  for (const WeightFormat* format : all_packed()) {
    SCOPED_TRACE(format->name);
    const PackedLayout layout = *stored_layout(*format);
    for (const auto& [rows, cols] : {std::pair(1, 1), {7, 30}, {129, 66}, {160, 512}}) {
      const auto count = static_cast<size_t>(rows) * static_cast<size_t>(cols);
      std::vector<int8_t> trits(count);
      for (int8_t& trit : trits) {
        trit = static_cast<int8_t>(format->has_zeros ? random() % 3 : random() % 2 * 2) - 1;
      }
      std::vector<std::byte> bytes(packed_bytes(layout, rows, cols));
      ASSERT_EQ(tensor_bytes(*format, rows, cols), bytes.size());
      for (int32_t row = 0; row < rows; row += layout.tile_rows) {
        pack_panel(layout, trits.data() + row * cols,
                   std::min<int32_t>(layout.tile_rows, rows - row), cols,
                   reinterpret_cast<uint8_t*>(bytes.data()) +
                       static_cast<size_t>(row / layout.tile_rows) * panel_bytes(layout, cols));
      }
      std::vector<int8_t> all(count);
      EXPECT_TRUE(format->unpack(bytes, rows, cols, 0, rows, all.data(), nullptr));
      EXPECT_EQ(all, trits);
      std::vector<int8_t> last(static_cast<size_t>(cols));  // a row within a tile
      EXPECT_TRUE(format->unpack(bytes, rows, cols, rows - 1, 1, last.data(), nullptr));
      EXPECT_TRUE(std::equal(last.begin(), last.end(), trits.end() - cols));
    }
  }
}

// In two_bit the code 3, in base3 13 of the 256 bytes, in bitplanes a minus without a nonzero.
TEST(PackedFormats, CodesThatStandForNoWeight) {
  for (const WeightFormat* format : all_packed()) {
    std::vector<std::byte> bytes(tensor_bytes(*format, 1, format->tiles.cols));
    std::vector<int8_t> trits(static_cast<size_t>(format->tiles.cols));
    const auto good = [&](unsigned byte) {
      std::ranges::fill(bytes, std::byte(byte));
      if (format->tiles.packing == StoredPacking::kBitplanes) {
        std::fill_n(bytes.begin(), bytes.size() / 2, std::byte{0x55});
      }
      return format->unpack(bytes, 1, format->tiles.cols, 0, 1, trits.data(), nullptr);
    };
    int count = 0;
    for (unsigned byte = 0; byte < 256; ++byte) {
      count += good(byte) ? 1 : 0;
    }
    constexpr int kGood[] = {192, 243, 16,
                             256};  // the first row's field is not 3; minus within 0x55
    EXPECT_EQ(count, kGood[static_cast<int>(format->tiles.packing)]) << format->name;
  }
}

class Packed : public ::testing::Test {
 protected:
  // Converts a golden model for a table's kernel.
  fs::path convert(const std::string& source, const KernelTable& table,
                   std::optional<TernaryKind> kind = {}, HeadType head = HeadType::kAuto) {
    cli::PackedTarget target{&table, {}, head};
    target.choice.wanted = kind;
    const TensorFile in = TensorFile::open(kGolden / source).value();
    const fs::path out = folder_ / "packed.gguf";
    const auto done = cli::convert_model(in, out, {.packed = target, .threads = 2});
    EXPECT_TRUE(done.has_value()) << done.error().message;
    return out;
  }
  static std::vector<float> logits_of(const fs::path& path, const KernelTable& table,
                                      HeadType head = HeadType::kAuto, TernaryChoice choice = {}) {
    const TensorFile file = TensorFile::open(path).value();
    return testing::DecoderRunner(file, table, 1, {}, head, choice).logits(tokens(), 16);
  }
  // What loading says of repacking.
  static std::vector<std::string> notices_of(const fs::path& path, const KernelTable& table) {
    const TensorFile file = TensorFile::open(path).value();
    Weights weights(file, table, 1);
    std::vector<std::string> notices;
    const ModelConfig config = read_config(file, notices).value();
    EXPECT_TRUE(bind_decoder(config, weights).has_value());
    return weights.notices();
  }

  testing::TempFolder folder_;
};

const KernelTable& portable() {
  return *all_tables().back();
}

TEST_F(Packed, LogitsAreThoseOfTheSourceToTheLastBit) {
  for (const char* source :
       {"models/bitnet-b1.58-i2_s.gguf", "models/bitnet-b1.58-tq1_0-q6_k.gguf",
        "models/bitnet-scale-tensors.gguf", "models/llama-tq2_0-groups.gguf", "onecomp/mdbf"}) {
    for (const KernelTable* table : {&testing::tested_table(), &portable()}) {
      for (const TernaryKind kind :
           {TernaryKind::kTwoBit, TernaryKind::kBase3, TernaryKind::kBitplanes}) {
        SCOPED_TRACE(std::string(source) + " " + table->name);
        const std::vector<float> truth = logits_of(kGolden / source, *table, HeadType::kAuto,
                                                   {.wanted = kind, .cached = {}, .streamed = {}});
        const fs::path packed = convert(source, *table, kind);
        EXPECT_EQ(logits_of(packed, *table), truth);
        EXPECT_TRUE(notices_of(packed, *table).empty());
      }
    }
  }
}

// Factors of every tool that makes them keep their rows' order and their scales.
TEST_F(Packed, FactoredFoldersComputeTheSame) {
  int folders = 0;
  for (const auto& entry : fs::directory_iterator(kGolden / "onecomp")) {
    if (!fs::exists(entry.path() / "config.json")) {
      continue;
    }
    const std::string source = "onecomp/" + entry.path().filename().string();
    SCOPED_TRACE(source);
    EXPECT_EQ(logits_of(convert(source, testing::tested_table()), testing::tested_table()),
              logits_of(kGolden / source, testing::tested_table()));
    ++folders;
  }
  EXPECT_GE(folders, 4);
}

// A table without that layout packs the weights again, and says so.
TEST_F(Packed, AnotherMachinesFileComputesTheSame) {
  const KernelTable* other = nullptr;
  for (const KernelTable* table : all_tables()) {
    if (table->ternary[0].layout != portable().ternary[0].layout) {
      other = table;
    }
  }
  if (other == nullptr) {
    GTEST_SKIP() << "all tables have one layout";
  }
  const char* source = "models/llama-tq2_0-groups.gguf";
  const fs::path packed = convert(source, *other, TernaryKind::kTwoBit);
  EXPECT_EQ(logits_of(packed, portable()), logits_of(kGolden / source, portable()));
  const std::vector<std::string> notices = notices_of(packed, portable());
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_NE(notices[0].find("TERN/two_bit"), std::string::npos) << notices[0];
  EXPECT_NE(notices[0].find("portable"), std::string::npos) << notices[0];
}

// Matrices are views into the map, and so is the head.
TEST_F(Packed, NothingIsCopied) {
  const fs::path path =
      convert("models/bitnet-b1.58-i2_s-q6_k.gguf", testing::tested_table(), {}, HeadType::kQ6K);
  const TensorFile file = TensorFile::open(path).value();
  const std::span<const std::byte> bytes = file.files()[0].bytes();
  const auto inside = [&](const void* data) {
    return data >= bytes.data() && data < bytes.data() + bytes.size() &&
           reinterpret_cast<uintptr_t>(data) % 64 == 0;
  };
  Weights weights(file, testing::tested_table(), 1);
  std::vector<std::string> notices;
  const ModelConfig config = read_config(file, notices).value();
  const DecoderWeights decoder = bind_decoder(config, weights, HeadType::kQ6K).value();
  for (const LayerWeights& layer : decoder.layers) {
    layer.for_each_linear([&](const Linear& linear) {
      const auto& matrix = std::get<TernaryMatrix>(linear.matrix);
      EXPECT_TRUE(inside(matrix.codes) && inside(matrix.scales));
    });
  }
  const auto& head = std::get<SplitMatrix>(decoder.head.matrix);
  EXPECT_TRUE(inside(head.coarse) && inside(head.fine) && inside(head.norms));
}

// The prepared head is what loading makes of the matrix, whether that was kept, or converted on the way; other types of
// head are still made of the matrix itself.
TEST_F(Packed, HeadsAreThoseThatLoadingMakes) {
  for (const char* source :
       {"models/bitnet-b1.58-i2_s-q6_k.gguf", "models/bitnet-b1.58-i2_s.gguf"}) {
    const fs::path packed = convert(source, testing::tested_table(), {}, HeadType::kQ6K);
    for (const HeadType type : {HeadType::kQ6K, HeadType::kAuto, HeadType::kKeep, HeadType::kF16}) {
      EXPECT_EQ(logits_of(packed, testing::tested_table(), type),
                logits_of(kGolden / source, testing::tested_table(), type))
          << source << " " << static_cast<int>(type);
    }
  }
  const TensorFile in = TensorFile::open(kGolden / "models/bitnet-b1.58-i2_s-q6_k.gguf").value();
  const WeightFormat* f16 = find_weight_format("f16");
  cli::PackedTarget target{&testing::tested_table(), {}, HeadType::kQ6K};
  ASSERT_TRUE(cli::convert_model(in, folder_ / "a.gguf", {.packed = target, .embedding = f16}));
  ASSERT_TRUE(cli::convert_model(in, folder_ / "b.gguf",
                                 {.type = find_weight_format("i2_s"), .embedding = f16}));
  EXPECT_EQ(logits_of(folder_ / "a.gguf", testing::tested_table(), HeadType::kQ6K),
            logits_of(folder_ / "b.gguf", testing::tested_table(), HeadType::kQ6K));
}

// What a file of this version holds. Where this fails because bytes have another order now, or mean something else, raise
// gguf::kPackedVersion, so that older files are refused, and put the new numbers here.
TEST_F(Packed, BytesAreThoseOfTheVersion) {
  ASSERT_EQ(gguf::kPackedVersion, 1);
  const fs::path path = convert("models/bitnet-25-i2_s.gguf", portable(), {}, HeadType::kQ6K);
  const TensorFile file = TensorFile::open(path).value();
  uint64_t hash = 0xCBF29CE484222325;  // FNV-1a
  for (const char* name : {"blk.0.ffn_up.weight", "token_embd.weight.head"}) {
    for (const std::byte byte : file.find(name)->data) {
      hash = (hash ^ static_cast<uint64_t>(byte)) * 0x100000001B3;
    }
  }
  EXPECT_EQ(hash, 6686165159344228248U);
}

TEST_F(Packed, FactorsGoNowhereElse) {
  const fs::path packed = convert("onecomp/dbf", testing::tested_table());
  const TensorFile in = TensorFile::open(packed).value();
  const auto refused =
      cli::convert_model(in, folder_ / "out.gguf", {.type = find_weight_format("tq2_0")});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("--type tern"), std::string::npos);
}

}  // namespace
}  // namespace tern
