#include "engine/base/late_workers.h"

#include <algorithm>
#include <cstddef>

namespace tern {

void LateWorkers::Account::book(double now, double seconds, double most) {
  balance = std::min(most, balance + seconds);
  since = now;
  if (balance >= 0) {
    return;
  }
  // What went well for longer than the last rest begins anew.
  const bool again = rest > 0 && now - until < rest;
  factor = again ? factor * 2 : kFirstRest;
  rest = std::min(kLongestRest, -balance * factor);
  balance = 0;
  until = now + rest;
  since = until;
}

void LateWorkers::lost(double now, double seconds) {
  const double allowance = kAllowedShare * std::max(0.0, now - machine_.since);
  machine_.balance = std::min(kMostAllowed, machine_.balance + allowance);
  machine_.book(now, -seconds, kMostAllowed);
}

void LateWorkers::helped(int worker, double now, double seconds) {
  const auto index = static_cast<size_t>(worker);
  if (index >= workers_.size()) {
    workers_.resize(index + 1, Account{.balance = kMostSaved});
  }
  Account& account = workers_[index];
  account.book(now, seconds > 0 ? kCredit * seconds : seconds, kMostSaved);
  all_back_ = std::max(all_back_, account.until);
}

bool LateWorkers::takes_part(int worker, double now) const {
  const auto index = static_cast<size_t>(worker);
  return index >= workers_.size() || now >= workers_[index].until;
}

}  // namespace tern
