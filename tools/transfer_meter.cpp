#include "tools/transfer_meter.h"

#include <cstdio>

#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/base/printable.h"
#include "tools/cli.h"

namespace tern::cli {
namespace {

constexpr double kRedraw = 0.1;  // seconds, on a terminal
constexpr double kRepeat = 10;   // on a pipe

std::string duration(double seconds) {
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  return whole < 100 ? std::to_string(whole) + " s" : std::to_string((whole + 30) / 60) + " min";
}

}  // namespace

std::string describe_transfer(uint64_t done, std::optional<uint64_t> size,
                              double bytes_per_second) {
  std::string text;
  if (size && *size > 0) {
    text = std::to_string(
               static_cast<int>(100.0 * static_cast<double>(done) / static_cast<double>(*size))) +
           " %  " + human_bytes(done) + " of " + human_bytes(*size);
  } else {
    text = human_bytes(done);
  }
  if (bytes_per_second > 0) {
    text += "  " + human_bytes(static_cast<uint64_t>(bytes_per_second)) + "/s";
    if (size && *size > done) {
      text += "  " + duration(static_cast<double>(*size - done) / bytes_per_second) + " left";
    }
  }
  return text;
}

TransferMeter::TransferMeter(std::string label)
    : label_(std::move(label)), shown_(steady_seconds()) {}

TransferMeter::~TransferMeter() {
  clear();
}

void TransferMeter::clear() {
  if (visible_) {
    clear_status();
    visible_ = false;
  }
}

void TransferMeter::update(uint64_t done, std::optional<uint64_t> size) {
  const double time = steady_seconds();
  if (!first_ || done < *first_) {
    first_ = done;
    started_ = time;
  }
  const bool terminal = stderr_is_terminal();
  if (time - shown_ < (terminal ? kRedraw : kRepeat)) {
    return;
  }
  shown_ = time;
  visible_ = terminal;
  const double passed = time - started_;
  const double speed = passed > 0.5 ? static_cast<double>(done - *first_) / passed : 0;
  const std::string text =
      printable_line(label_, 200) + "  " + describe_transfer(done, size, speed);
  if (terminal) {
    show_status(text);
  } else {
    print_message(text);
  }
}

}  // namespace tern::cli
