#pragma once
// How far a download is: a line that is redrawn on a terminal, a line every ten seconds on a pipe.

#include <cstdint>
#include <optional>
#include <string>

namespace tern::cli {

class TransferMeter {
 public:
  explicit TransferMeter(std::string label);
  TransferMeter(const TransferMeter&) = delete;
  TransferMeter& operator=(const TransferMeter&) = delete;
  ~TransferMeter();

  void update(uint64_t done, std::optional<uint64_t> size);
  // Removes the line from the terminal, so that another can be printed.
  void clear();

 private:
  std::string label_;
  std::optional<uint64_t> first_;  // bytes that were there before
  double started_ = 0;
  double shown_;
  bool visible_ = false;
};

// "42 %  0.50 of 1.19 GB  23.4 MB/s  29 s left" of what is known.
std::string describe_transfer(uint64_t done, std::optional<uint64_t> size, double bytes_per_second);

}  // namespace tern::cli
