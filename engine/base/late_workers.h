#pragma once
// Whether the workers of a team cost its leader more than they help. Told times, so it needs no clock.

#include <vector>

namespace tern {

// A worker that the system has taken off its core holds the piece of work that it had begun, and the leader waits for a whole
// turn of the scheduler, some milliseconds: more than a small model's token takes.
//
// Losing a small share of the time in that way is the price of help, and no machine is free of it. If more is lost, other
// programs want the cores: the machine counts as crowded for many times as long as was lost beyond the allowance, for longer if
// it happens again at once. The team is then careful, and keeps an account for each worker of what it saved and what it cost.
// A worker that has overdrawn its account is left out, for times that follow the same rule. So the loss stays a small share of
// the time whatever the others do, and a machine that becomes quiet has all its workers again within a second.
class LateWorkers {
 public:
  // The leader lost `seconds` until `now`, on a machine that was not known to be crowded.
  void lost(double now, double seconds);
  // On a crowded machine a job until `now` took the leader `seconds` less than it would have taken without `worker` (or more:
  // less than 0).
  void helped(int worker, double now, double seconds);

  bool crowded(double now) const { return now < machine_.until; }
  // Whether the worker takes part at `now`, and whether any worker does not.
  bool takes_part(int worker, double now) const;
  bool any_out(double now) const { return now < all_back_; }

  // Times in seconds.
  static constexpr double kAllowedShare =
      0.01;  // of the time that may be lost where nothing else is known
  static constexpr double kMostAllowed = 12e-3;  // saved up
  static constexpr double kMostSaved = 5e-3;     // by one worker: about one turn of the scheduler
  static constexpr double kCredit = 0.8;         // of what a worker saved: it is an estimate
  static constexpr double kFirstRest = 50;       // times what was overdrawn
  static constexpr double kLongestRest = 1.0;

 private:
  struct Account {
    double balance;
    double since = 0;  // when the balance was right
    double until = 0;  // the end of the rest that it was overdrawn for,
    double rest = 0;   // which was so long
    double factor = kFirstRest;

    void book(double now, double seconds, double most);
  };

  Account machine_{.balance = kMostAllowed};
  std::vector<Account> workers_;
  double all_back_ = 0;
};

}  // namespace tern
