#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <limits>
#include <thread>
#include <vector>

#include "engine/base/buffer.h"
#include "engine/base/cgroup.h"
#include "engine/base/file.h"
#include "engine/base/memory.h"
#include "engine/base/output_file.h"
#include "engine/base/parallel.h"
#include "engine/base/result.h"
#include "tests/support/temp_folder.h"

namespace tern {
namespace {

Result<int> half_of(int value) {
  if (value % 2 != 0) {
    return Error{std::to_string(value) + " is odd"};
  }
  return value / 2;
}

Result<int> quarter_of(int value) {
  ASSIGN_OR_RETURN(const int half, half_of(value));
  return half_of(half);
}

TEST(Result, CarriesValuesAndErrorsThroughCallers) {
  EXPECT_EQ(*quarter_of(12), 3);
  const Result<int> failed = quarter_of(6);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().in("a.txt").message, "a.txt: 3 is odd");
}

TEST(ResultDeathTest, ReadingAMissingValueStops) {
  EXPECT_DEATH((void)half_of(3).value(), "check failed");
}

TEST(ParallelFor, CoversEveryIndexOnceOnGrainBorders) {
  for (const int threads : {1, 2, 3, 7}) {
    for (const int64_t count : {0, 1, 31, 32, 33, 1000}) {
      for (const int64_t grain : {1, 32}) {
        std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
        parallel_for(threads, count, grain, [&](int64_t begin, int64_t end, int thread) {
          EXPECT_GE(thread, 0);
          EXPECT_LT(thread, threads);
          EXPECT_EQ(begin % grain, 0);
          EXPECT_TRUE(end % grain == 0 || end == count);
          for (int64_t i = begin; i < end; ++i) {
            ++seen[static_cast<size_t>(i)];
          }
        });
        for (const auto& times : seen) {
          EXPECT_EQ(times, 1);
        }
      }
    }
  }
}

// Every index once, in pieces on grain borders, whatever the number of tiles, in a region or out of one.
void expect_tiles(int threads, int region, int tiles, int64_t count, int64_t grain) {
  std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
  std::vector<std::atomic<int>> busy(static_cast<size_t>(std::max(threads, region)));
  parallel_tiles(threads, tiles, count, grain, [&](int64_t begin, int64_t end, int thread) {
    EXPECT_EQ(busy[static_cast<size_t>(thread)].fetch_add(1), 0) << "two at once";
    EXPECT_EQ(begin % grain, 0);
    EXPECT_TRUE(end % grain == 0 || end == count);
    for (int64_t i = begin; i < end; ++i) {
      ++seen[static_cast<size_t>(i)];
    }
    --busy[static_cast<size_t>(thread)];
  });
  for (const auto& times : seen) {
    ASSERT_EQ(times, 1);
  }
}

TEST(ParallelTiles, CoverEveryIndexOnceInsideAndOutsideARegion) {
  for (const int region : {1, 2, 3, 8}) {
    parallel_region(region, [&] {
      for (const int threads : {1, 2, 5}) {
        for (const int tiles : {1, 4, 100000}) {
          for (const int64_t count : {0, 1, 33, 1000, 100000}) {
            expect_tiles(threads, region, tiles, count, 1);
            expect_tiles(threads, region, tiles, count, 32);
          }
        }
      }
    });
  }
  expect_tiles(3, 1, 7, 1000, 1);
}

// What one step writes, the next reads on whatever thread: thousands of steps, some after the workers fell asleep.
TEST(ParallelRegion, StepsSeeWhatStepsBeforeThemWrote) {
  constexpr int64_t kCount = 64;
  std::vector<int64_t> values(kCount, 0);
  std::vector<int64_t> next(kCount, 0);
  parallel_region(4, [&] {
    for (int step = 0; step < 5000; ++step) {
      parallel_tiles(4, 4, kCount, 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          next[static_cast<size_t>(i)] = values[static_cast<size_t>((i + 1) % kCount)] + 1;
        }
      });
      std::swap(values, next);
      if (step % 1000 == 999) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    }
  });
  EXPECT_EQ(values, std::vector<int64_t>(kCount, 5000));
}

TEST(ParallelRegion, NestedRegionsShareTheOuterThreads) {
  std::atomic<int64_t> sum = 0;
  parallel_region(2, [&] {
    parallel_region(3, [&] {
      parallel_for(3, 10, 1, [&](int64_t begin, int64_t end, int thread) {
        EXPECT_LT(thread, 2);
        sum += end - begin;
      });
    });
  });
  EXPECT_EQ(sum, 10);
}

TEST(Threads, NoMoreAreUsedThanThereAre) {
  EXPECT_GE(usable_cpu_count(), 1);
  EXPECT_LE(default_thread_count(), usable_cpu_count());
}

TEST(AlignedBuffer, IsAlignedAndZeroed) {
  for (const size_t size : {size_t{1}, size_t{100}, size_t{3} << 20}) {
    const AlignedBuffer buffer(size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 64, 0U);
    EXPECT_EQ(buffer.size(), size);
    for (size_t i = 0; i < size; ++i) {
      ASSERT_EQ(buffer.data()[i], std::byte{0});
    }
  }
}

TEST(Arena, HandsOutSeparateAlignedPieces) {
  Arena arena(Arena::cost(1) + Arena::cost(65));
  std::byte* first = arena.take(1);
  std::byte* second = arena.take(65);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 64, 0U);
  EXPECT_EQ(second - first, 64);
  EXPECT_EQ(arena.used(), 64U + 128U);
  EXPECT_DEATH(arena.take(1), "check failed");
}

TEST(HumanBytes, HasThreeDigitsAndDecimalUnits) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(1234), "1.23 kB");
  EXPECT_EQ(human_bytes(12345), "12.3 kB");
  EXPECT_EQ(human_bytes(999999), "1.00 MB");
  EXPECT_EQ(human_bytes(795818368), "796 MB");
  EXPECT_EQ(human_bytes(4200000000000), "4.20 TB");
}

TEST(Memory, KnowsWhatThisProcessUses) {
  const uint64_t before = peak_resident_memory();
  AlignedArray<char> buffer(64 << 20);
  std::fill(buffer.data(), buffer.data() + buffer.size(), 'x');
  EXPECT_GE(peak_resident_memory(), before + (32 << 20));
  EXPECT_GT(available_memory(), 0U);
}

class FileTest : public ::testing::Test {
 protected:
  testing::TempFolder folder_;
  const std::filesystem::path directory_ = folder_ / "";
};

TEST_F(FileTest, WritesAtomicallyAndReadsBack) {
  const auto path = directory_ / "note.txt";
  ASSERT_TRUE(write_file_atomically(path, "first"));
  ASSERT_TRUE(write_file_atomically(path, "second"));
  EXPECT_EQ(*read_text_file(path), "second");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_), {}),
            1);  // no temporary file left
}

TEST_F(FileTest, FindsControlGroupsAroundAProcess) {
  std::ofstream(directory_ / "self") << "12:pids:/old\n0::/user.slice/app.scope\n";
  const std::filesystem::path root = "/sys/fs/cgroup";
  EXPECT_EQ(cgroup_folders("cpu", directory_ / "self", root),
            (std::vector{root / "user.slice/app.scope", root / "user.slice", root}));
  std::ofstream(directory_ / "top") << "0::/\n";
  EXPECT_EQ(cgroup_folders("cpu", directory_ / "top", root), std::vector{root});
  EXPECT_EQ(cgroup_folders("cpu", directory_ / "none", root), std::vector{root});
}

TEST_F(FileTest, FindsControlGroupsOfTheOldHierarchies) {
  std::ofstream(directory_ / "self")
      << "6:cpuset:/no\n4:cpu,cpuacct:/docker/a\n3:memory:/\n1:name=systemd:/no\n0::/\n";
  const std::filesystem::path root = "/groups";
  const std::filesystem::path mount = root / "cpu,cpuacct";
  EXPECT_EQ(cgroup_folders("cpu", directory_ / "self", root),
            (std::vector{mount / "docker/a", mount / "docker", root, mount}));
  EXPECT_EQ(cgroup_folders("memory", directory_ / "self", root),
            (std::vector{root, root / "memory"}));
}

TEST_F(FileTest, KnowsHowManyCpusAControlGroupGrants) {
  const double no_limit = std::numeric_limits<double>::infinity();
  EXPECT_EQ(cgroup_cpus(directory_), no_limit);
  std::ofstream(directory_ / "cpu.cfs_quota_us") << "-1\n";
  std::ofstream(directory_ / "cpu.cfs_period_us") << "100000\n";
  EXPECT_EQ(cgroup_cpus(directory_), no_limit);
  std::ofstream(directory_ / "cpu.cfs_quota_us") << "50000\n";
  EXPECT_EQ(cgroup_cpus(directory_), 0.5);
  std::ofstream(directory_ / "cpu.max") << "max 100000\n";
  EXPECT_EQ(cgroup_cpus(directory_), 0.5);
  std::ofstream(directory_ / "cpu.max") << "150000 100000\n";
  EXPECT_EQ(cgroup_cpus(directory_), 1.5);
}

TEST_F(FileTest, KnowsWhatAnOldControlGroupLeaves) {
  std::ofstream(directory_ / "memory.limit_in_bytes") << "9223372036854771712\n";
  EXPECT_EQ(memory_left(directory_), std::nullopt);
  std::ofstream(directory_ / "memory.limit_in_bytes") << "1000\n";
  std::ofstream(directory_ / "memory.usage_in_bytes") << "700\n";
  std::ofstream(directory_ / "memory.stat")
      << "active_file 1\ntotal_active_file 100\ntotal_inactive_file 340\n";
  EXPECT_EQ(memory_left(directory_), 740U);
}

// Pages of files are not in use in earnest.
TEST_F(FileTest, KnowsWhatAControlGroupLeaves) {
  EXPECT_EQ(memory_left(directory_), std::nullopt);
  std::ofstream(directory_ / "memory.max") << "max\n";
  EXPECT_EQ(memory_left(directory_), std::nullopt);
  std::ofstream(directory_ / "memory.max") << "1000\n";
  std::ofstream(directory_ / "memory.current") << "700\n";
  EXPECT_EQ(memory_left(directory_), 300U);
  std::ofstream(directory_ / "memory.stat")
      << "anon 250\nfile 450\nactive_file 100\ninactive_file 340\nshmem 10\n";
  EXPECT_EQ(memory_left(directory_), 740U);
  std::ofstream(directory_ / "memory.current") << "1200\n";
  EXPECT_EQ(memory_left(directory_), 240U);
}

TEST_F(FileTest, LeavesNothingOfAFileThatWasNotFinished) {
  const auto path = directory_ / "note.txt";
  ASSERT_TRUE(write_file_atomically(path, "old"));
  {
    Result<OutputFile> file = OutputFile::create(path, {.replace = true});
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->write(std::as_bytes(std::span("new"))));
  }
  EXPECT_EQ(*read_text_file(path), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_), {}), 1);
}

TEST_F(FileTest, NamesWhatIsWrong) {
  const Result<MappedFile> missing = MappedFile::open(directory_ / "none");
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("No such file"), std::string::npos)
      << missing.error().message;
  const Result<MappedFile> folder = MappedFile::open(directory_);
  ASSERT_FALSE(folder);
  EXPECT_NE(folder.error().message.find("found a directory"), std::string::npos);
  EXPECT_FALSE(write_file_atomically(directory_ / "no" / "such" / "folder", "x"));
}

}  // namespace
}  // namespace tern
