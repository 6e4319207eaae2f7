// The file that keeps what `tern tune` found: what is written is read, and whatever else lies there is left aside.

#include "tools/tuning.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/base/file.h"
#include "kernels/select.h"
#include "tests/support/temp_folder.h"
#include "tools/tune_measure.h"

namespace tern::cli {
namespace {

using Json = nlohmann::json;

const TuningKey kHere{"Some CPU @ 3 GHz", 8, "1.2.3"};

Tuning some_tuning() {
  return {find_table("portable"), TernaryKind::kTwoBit, TernaryKind::kBase3, 3, 7};
}

class TuningFile : public ::testing::Test {
 protected:
  void write(const std::string& text) const { std::ofstream(path_) << text; }

  // The notice on a file that must not be used.
  std::string refusal() const {
    const StoredTuning stored = load_tuning(path_, kHere);
    EXPECT_FALSE(stored.tuning.has_value());
    EXPECT_NE(stored.notice.find(path_.string()), std::string::npos) << stored.notice;
    EXPECT_NE(stored.notice.find("tern tune"), std::string::npos) << stored.notice;
    return stored.notice;
  }

  testing::TempFolder folder_;
  std::filesystem::path path_ = folder_ / "tune.json";
};

TEST_F(TuningFile, IsReadAsItWasWritten) {
  const std::filesystem::path deeper = folder_ / "a/b/tune.json";
  ASSERT_TRUE(save_tuning(deeper, kHere, some_tuning()));
  const StoredTuning stored = load_tuning(deeper, kHere);
  EXPECT_EQ(stored.tuning, some_tuning());
  EXPECT_EQ(stored.notice, "");
}

TEST_F(TuningFile, HasTheDocumentedFields) {
  ASSERT_TRUE(save_tuning(path_, kHere, some_tuning()));
  EXPECT_EQ(Json::parse(std::ifstream(path_)), Json::parse(R"({
    "cpu": "Some CPU @ 3 GHz", "cores": 8, "version": "1.2.3", "kernels": "portable",
    "cached": "two_bit", "streamed": "base3", "threads": 3, "batch_threads": 7})"));
}

TEST_F(TuningFile, NeedNotBeThere) {
  const StoredTuning stored = load_tuning(path_, kHere);
  EXPECT_FALSE(stored.tuning.has_value());
  EXPECT_EQ(stored.notice, "");
}

TEST_F(TuningFile, OfAnotherMachineOrVersionIsLeftAside) {
  for (const TuningKey& other :
       {TuningKey{"Another CPU", 8, "1.2.3"}, TuningKey{kHere.cpu, 9, "1.2.3"},
        TuningKey{kHere.cpu, 8, "1.2.4"}}) {
    ASSERT_TRUE(save_tuning(path_, other, some_tuning()));
    const std::string notice = refusal();
    EXPECT_NE(notice.find(other.cpu), std::string::npos) << notice;
    EXPECT_NE(notice.find(other.version), std::string::npos) << notice;
  }
}

TEST_F(TuningFile, CutAnywhereIsLeftAside) {
  ASSERT_TRUE(save_tuning(path_, kHere, some_tuning()));
  const std::string whole = read_text_file(path_).value();
  for (size_t size = 0; size + 2 < whole.size(); ++size) {  // the last two bytes are "}\n"
    write(whole.substr(0, size));
    EXPECT_NE(refusal().find("damaged"), std::string::npos) << size;
  }
}

TEST_F(TuningFile, WithMissingOrSenselessFieldsIsLeftAside) {
  ASSERT_TRUE(save_tuning(path_, kHere, some_tuning()));
  const Json good = Json::parse(std::ifstream(path_));
  for (const auto& [name, value] : good.items()) {
    Json json = good;
    json.erase(name);
    write(json.dump());
    EXPECT_NE(refusal().find("damaged"), std::string::npos) << name;
    json[name] = Json::array({1, 2});
    write(json.dump());
    EXPECT_NE(refusal().find("damaged"), std::string::npos) << name;
  }
  const std::pair<const char*, Json> wrong[] = {{"threads", 0},       {"batch_threads", -3},
                                                {"threads", 1 << 20}, {"cached", "three_bit"},
                                                {"streamed", "sign"}, {"streamed", ""}};
  for (const auto& [name, value] : wrong) {
    Json json = good;
    json[name] = value;
    write(json.dump());
    EXPECT_NE(refusal().find("damaged"), std::string::npos) << name;
  }
  for (const char* text : {"[]", "null", "7", "\"cpu\"", "{}", "\xFF\xFE"}) {
    write(text);
    EXPECT_NE(refusal().find("damaged"), std::string::npos) << text;
  }
}

// A virtual machine may move to a host with fewer instructions under the same name.
TEST_F(TuningFile, NeverNamesKernelsThatThisCpuCannotRun) {
  std::vector<std::string> names = {"doesnotexist", ""};
  for (const KernelTable* table : all_tables()) {
    if (!runs_here(*table)) {
      names.emplace_back(table->name);
    }
  }
  for (const std::string& name : names) {
    ASSERT_TRUE(save_tuning(path_, kHere, some_tuning()));
    Json json = Json::parse(std::ifstream(path_));
    json["kernels"] = name;
    write(json.dump());
    EXPECT_NE(refusal().find("cannot run"), std::string::npos) << name;
  }
}

TEST_F(TuningFile, ErrorsNameTheFolder) {
  write("a file, not a folder");
  const Result<void> saved = save_tuning(path_ / "tern/tune.json", kHere, some_tuning());
  ASSERT_FALSE(saved);
  EXPECT_NE(saved.error().message.find(path_.string()), std::string::npos);
}

// On a quiet machine the fewest threads that none clearly beats; what was measured beside other programs decides nothing.
TEST(ChooseThreads, BelievesOnlyAQuietMachine) {
  const KernelTable* table = find_table("portable");
  const auto candidate = [&](int threads, double token, double prompt) {
    return TuneCandidate{table, TernaryKind::kTwoBit, threads, threads, token, prompt};
  };
  const std::vector<TuneCandidate> measured = {
      candidate(1, 0.050, 0.0100), candidate(2, 0.030, 0.0052), candidate(4, 0.0295, 0.0030)};
  Tuning tuning;
  choose_threads(measured, 3, 0.02, tuning);
  EXPECT_EQ(tuning.threads, 2);
  EXPECT_EQ(tuning.batch_threads, 4);
  choose_threads(measured, 3, 1.0, tuning);
  EXPECT_EQ(tuning.threads, 3);
  EXPECT_EQ(tuning.batch_threads, 3);
}

}  // namespace
}  // namespace tern::cli
