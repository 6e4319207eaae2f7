#!/usr/bin/env python3
"""What threads are worth on a machine that has other things to do.

    benchmarks/busy.py                                   # the default model
    benchmarks/busy.py -m small.gguf -m 2b.gguf -t 1,2,4 -b 0,1,2
    benchmarks/busy.py --beside                          # two Terns instead of a busy loop
    sudo benchmarks/busy.py --quota 0.5                  # in a control group with half a core

Runs `tern bench` with each number of threads beside each number of busy loops, in turns, and prints medians. Two numbers
judge them: the speed in comparison with one thread under the same load, which should never be much below 1, and the share of
what is fair: a system that divides its cores evenly gives T threads beside B busy loops on C cores T C / (T + B) of them
(never more than T), and the same part of the speed that so many threads have alone. Several --tern compare builds.
"""

import argparse
import contextlib
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)


def numbers(text):
    return [int(part) for part in text.split(",")]


class BusyLoops:
    """Processes that want a core each for as long as the block lasts."""

    def __init__(self, count):
        self.count = count
        self.processes = []

    def __enter__(self):
        for _ in range(self.count):
            self.processes.append(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def control_group(cores):
    """A command that starts others in a control group of so many cores; nothing if `cores` is none."""
    if cores is None:
        yield []
        return
    period = 100000
    quota = int(cores * period)
    new = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    folder = tempfile.mkdtemp(prefix="tern-busy-", dir="/sys/fs/cgroup" if new else "/sys/fs/cgroup/cpu")
    limits = {"cpu.max": f"{quota} {period}"} if new else {"cpu.cfs_period_us": period, "cpu.cfs_quota_us": quota}
    try:
        for name, value in limits.items():
            with open(os.path.join(folder, name), "w") as file:
                file.write(str(value))
        yield ["sh", "-c", f'echo $$ > {folder}/cgroup.procs && exec "$@"', "sh"]
    finally:
        os.rmdir(folder)


class Witness:
    """How much of a core programs have used that do not belong to the measurement."""

    def __init__(self, loops):
        self.loops = loops
        self.start = self.now()

    def now(self):
        tick = os.sysconf("SC_CLK_TCK")
        with open("/proc/stat") as file:
            fields = [int(field) for field in file.readline().split()[1:]]
        used = (sum(fields[:3]) + sum(fields[5:8])) / tick  # neither idle nor waiting for a disk
        for process in self.loops.processes:
            with open(f"/proc/{process.pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            used -= (int(fields[11]) + int(fields[12])) / tick
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            usage = resource.getrusage(who)
            used -= usage.ru_utime + usage.ru_stime
        return time.monotonic(), used

    def foreign(self):
        time_before, before = self.start
        time_after, after = self.now()
        return (after - before) / (time_after - time_before)


def undisturbed(options, loops, work):
    """What `work` returns, repeated while other programs take part; nothing if they always do."""
    for _ in range(options.tries):
        witness = Witness(loops)
        result = work()
        foreign = witness.foreign()
        if foreign < options.foreign:
            return result
        print(f"busy.py: other programs used {foreign:.2f} of a core: measured again", file=sys.stderr)
    return {}


def bench(prefix, tern, model, threads, options):
    command = [*prefix, tern, "bench", "-m", model, "-p", str(options.prompt), "-n", str(options.generate), "-t", str(threads),
               "-r", "1", "-o", "json"]
    others = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(2 if options.beside else 1)]
    speeds = {}
    try:
        for process in others:
            out, _ = process.communicate()
            if process.returncode != 0:
                sys.exit(f"busy.py: {' '.join(command)} failed.")
            for row in json.loads(out)["results"]:
                speeds.setdefault(row["test"], []).append(row["tokens_per_second"])
    finally:
        for process in others:
            process.kill()
    return {test: statistics.mean(values) for test, values in speeds.items()}


def measure(options, prefix):
    """{(tern, model, test, busy, threads): speeds}, with rounds outermost, so that what changes with time meets all alike."""
    results = {}
    for _ in range(options.rounds):
        for busy in options.busy:
            with BusyLoops(busy) as loops:
                for model in options.model:
                    for threads in options.threads:
                        for tern in options.tern:
                            def work():
                                return bench(prefix, tern, model, threads, options)

                            for test, speed in undisturbed(options, loops, work).items():
                                results.setdefault((tern, model, test, busy, threads), []).append(speed)
    return results


def print_table(options, results):
    cores = len(os.sched_getaffinity(0))
    print("| build | model | test | busy | threads | tokens/s | range | of 1 thread | of the fair share |")
    print("|---|---|---|---:|---:|---:|---|---:|---:|")
    medians = {key: statistics.median(values) for key, values in results.items()}
    for key in sorted(results):
        tern, model, test, busy, threads = key
        one = medians.get((tern, model, test, busy, 1))
        alone = medians.get((tern, model, test, 0, threads))
        fair = alone and alone * min(1, cores / (threads + busy)) / min(1, cores / threads)
        name = os.path.basename(tern) if len(options.tern) > 1 else ""
        print(f"| {name} | {os.path.basename(model)} | {test} | {busy} | {threads} | {medians[key]:.1f} "
              f"| {min(results[key]):.1f}-{max(results[key]):.1f} "
              f"| {f'{medians[key] / one:.2f}' if one else ''} | {f'{medians[key] / fair:.2f}' if fair else ''} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tern", action="append", help="program to measure; may be given several times")
    parser.add_argument("-m", "--model", action="append", help="model; may be given several times")
    parser.add_argument("-t", "--threads", type=numbers, default=[1, 2], metavar="N,...")
    parser.add_argument("-b", "--busy", type=numbers, default=[0, 1, 2], metavar="N,...", help="busy loops beside Tern")
    parser.add_argument("-p", "--prompt", type=int, default=0, metavar="N", help="tokens of the prompt that is timed")
    parser.add_argument("-n", "--generate", type=int, default=128, metavar="N", help="tokens that are generated")
    parser.add_argument("-r", "--rounds", type=int, default=3)
    parser.add_argument("--foreign", type=float, default=0.1, metavar="SHARE",
                        help="a run in which other programs used more of a core is repeated")
    parser.add_argument("--tries", type=int, default=5, help="so often at most")
    parser.add_argument("--beside", action="store_true", help="two Terns at once, of which the mean counts")
    parser.add_argument("--quota", type=float, metavar="CORES", help="in a control group of so many cores (needs root)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("busy.py: ended by a signal"))  # no busy loop outlives this program
    options.tern = options.tern or [os.path.join(ROOT, "build", "release", "tools", "tern")]
    options.model = options.model or [os.path.join(ROOT, "models", "tern-tiny.gguf")]
    with control_group(options.quota) as prefix:
        results = measure(options, prefix)
    print_table(options, results)


if __name__ == "__main__":
    main()
