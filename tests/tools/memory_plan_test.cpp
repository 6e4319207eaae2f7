// The plan of memory against what a loaded model and its session hold: bytes of the buffers that exist, and of the matrices whose
// views point into the file.

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <stdexcept>

#include "engine/session/session.h"
#include "kernels/select.h"
#include "tests/support/source_dir.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tested_table.h"
#include "tools/convert_model.h"
#include "tools/synth_model.h"

namespace tern::cli {
namespace {

namespace fs = std::filesystem;

// Bytes of the matrices that lie in the file, each once.
class InFile {
 public:
  explicit InFile(const TensorFile& file) : file_(file) {}

  void add(const Linear& w) {
    if (w.factored != nullptr) {
      return;  // is packed
    }
    if (const auto* dense = std::get_if<DenseMatrix>(&w.matrix)) {
      add(dense->data, dense->row_bytes() * static_cast<size_t>(dense->rows));
    } else if (const auto* split = std::get_if<SplitMatrix>(&w.matrix)) {
      const size_t row = split->coarse_row_bytes() + split->fine_row_bytes() + sizeof(SplitNorms);
      add(split->coarse, row * static_cast<size_t>(split->rows));
    } else {
      const auto& ternary = std::get<TernaryMatrix>(w.matrix);
      add(ternary.codes, packed_bytes(ternary.layout, ternary.rows, ternary.cols));
      const int64_t scales =
          int64_t{ternary.rows / ternary.rows_per_scale} * (ternary.cols / ternary.cols_per_scale);
      add(ternary.scales, static_cast<size_t>(scales) * sizeof(float));
    }
  }
  size_t bytes() const { return bytes_; }

 private:
  void add(const void* data, size_t bytes) {
    const bool inside = std::ranges::any_of(file_.files(), [&](const MappedFile& part) {
      const std::span<const std::byte> all = part.bytes();
      return std::less_equal<>()(static_cast<const void*>(all.data()), data) &&
             std::less<>()(data, static_cast<const void*>(all.data() + all.size()));
    });
    bytes_ += inside && seen_.insert(data).second ? bytes : 0;
  }

  const TensorFile& file_;
  std::set<const void*> seen_;
  size_t bytes_ = 0;
};

size_t in_file(const Model& model) {
  InFile counted(model.file());
  for (const LayerWeights& layer : model.decoder().layers) {
    layer.for_each_linear([&](const Linear& w) { counted.add(w); });
  }
  counted.add(model.decoder().head);
  return counted.bytes();
}

struct Counted {
  WeightMemory planned;
  WeightMemory taken;  // as loading counted
  size_t session_planned = 0;
  size_t converted = 0;  // when the file was opened
  size_t buffers = 0;
  size_t mapped = 0;
  size_t session_buffers = 0;
};

Counted count(const fs::path& path, HeadType head = HeadType::kAuto) {
  Counted out;
  const SessionOptions options{.context = 300, .threads = 2};
  {
    const TensorFile file = TensorFile::open(path).value();
    std::vector<std::string> notices;
    const auto config = read_config(file, notices);
    const auto plan = config ? ModelPlan::create(file, *config, testing::tested_table(), {}, head)
                             : Result<ModelPlan>(config.error());
    if (!plan) {
      throw std::runtime_error(plan.error().message);
    }
    out.planned = plan->shape().memory;
    out.converted = file.converted_bytes();
    out.session_planned = plan_memory(plan->shape(), options, 0).session();
  }
  const size_t before = AlignedBuffer::all_bytes();
  LoadOptions load;
  load.compute = {&testing::tested_table(), 2};
  load.head = head;
  load.i2s_layout = I2sLayout::k128;  // does not try others
  const auto model = Model::load(path, load).value();
  out.buffers = AlignedBuffer::all_bytes() - before;
  out.mapped = in_file(*model);
  out.taken = model->shape().memory;
  const Session session = Session::create(model, options).value();
  out.session_buffers = AlignedBuffer::all_bytes() - before - out.buffers;
  return out;
}

void expect_as_planned(const fs::path& path, HeadType head = HeadType::kAuto) {
  SCOPED_TRACE(path);
  const Counted found = count(path, head);
  EXPECT_EQ(found.planned.computed + found.planned.experts, found.converted + found.buffers);
  EXPECT_EQ(found.planned.mapped, found.mapped);
  EXPECT_EQ(found.session_planned, found.session_buffers);
}

SynthShape tiny(const char* architecture, bool tied) {
  return {.name = "tiny",
          .architecture = architecture,
          .layers = 4,
          .width = 256,
          .ffn = 512,
          .heads = 4,
          .kv_heads = 2,
          .head_dim = 64,
          .vocab = 4096,
          .context = 512,
          .rope_base = 1e4F,
          .norm_eps = 1e-5F,
          .tied = tied};
}

class MemoryPlans : public ::testing::Test {
 protected:
  fs::path write(const SynthShape& shape, const char* linear, const char* embedding) {
    const fs::path path = folder_ / (shape.architecture + ".gguf");
    const auto done = write_synth_model(path, {.shape = shape,
                                               .linear = find_weight_format(linear),
                                               .embedding = find_weight_format(embedding),
                                               .head = find_weight_format(embedding),
                                               .keep_going = {}});
    EXPECT_TRUE(done) << done.error().message;
    return path;
  }
  testing::TempFolder folder_;
};

TEST_F(MemoryPlans, DenseLayersHeadsTiedAndApart) {
  for (const bool tied : {true, false}) {
    expect_as_planned(write(tiny("bitnet-b1.58", tied), "i2_s", "f16"));
    // Of each 256 or 128 columns a scale.
    expect_as_planned(write(tiny("llama", tied), "tq2_0", "q6_k"));
    expect_as_planned(write(tiny("qwen3", tied), "q2_0/128", "q8_0"));
    expect_as_planned(write(tiny("minicpm", tied), "q8_0", "q4_k"));
  }
  expect_as_planned(write(tiny("qwen3", true), "q1_0", "q1_0"));
  for (const HeadType head : {HeadType::kQ6K, HeadType::kQ8_0}) {
    expect_as_planned(write(tiny("llama", false), "i2_s", "f16"), head);
  }
}

TEST_F(MemoryPlans, Mixtures) {
  SynthShape shape = tiny("maple", false);
  shape.mixture = {.experts = 8, .used = 2};
  shape.window = 64;
  expect_as_planned(write(shape, "tq2_0", "q4_k"));
}

TEST_F(MemoryPlans, HybridsAndRotatedInputs) {
  SynthShape shape = tiny("qwen35", false);
  shape.rope_dims = 32;
  shape.hybrid = {.key_heads = 2, .value_heads = 4, .state = 64, .conv = 4, .interval = 4};
  expect_as_planned(write(shape, "pq2_0", "f16"));
  shape.rotation = 128;
  expect_as_planned(write(shape, "ptq1_0", "f16"));
}

TEST_F(MemoryPlans, NormsOfInputsAndWindows) {
  SynthShape shape = tiny("gemma3", true);
  shape.input_norms = true;
  shape.window = 64;
  expect_as_planned(write(shape, "i2_s", "f16"));
}

TEST_F(MemoryPlans, FilesInTheKernelsOrder) {
  const TensorFile in = TensorFile::open(write(tiny("llama", false), "tq2_0", "f16")).value();
  const fs::path packed = folder_ / "packed.gguf";
  ASSERT_TRUE(convert_model(
      in, packed,
      {.packed = PackedTarget{&testing::tested_table(), {}, HeadType::kQ6K}, .threads = 2}));
  expect_as_planned(packed);
  expect_as_planned(packed, HeadType::kQ6K);
}

// Matrices of GPTQ become halves when the file is opened; factors are packed one by one.
TEST(MemoryPlansOfFolders, FactoredAndConverted) {
  for (const char* name : {"llama-dbf", "qwen3-mixed-gptq"}) {
    expect_as_planned(testing::source_path("tests/golden/onecomp/tool") / name);
  }
}

// Scales that turn out equal leave a part of what was planned untouched.
TEST(MemoryPlansOfFolders, EqualScales) {
  for (const char* name : {"mlx/llama", "models/bitnet-b1.58-tq2_0-q6_k.gguf"}) {
    const Counted found = count(testing::source_path("tests/golden") / name);
    EXPECT_LE(found.taken.computed, found.planned.computed);
    EXPECT_GT(found.taken.computed, found.planned.computed / 100 * 90);
    EXPECT_EQ(found.planned.mapped, found.mapped);
  }
}

}  // namespace
}  // namespace tern::cli
