#!/usr/bin/env python3
"""Says whether a change made a program faster or slower, on a machine that is never quite still.

    tools/bench_compare.py OLD NEW [-- ARGUMENTS]
    tools/bench_compare.py build/old/tools/tern build/release/tools/tern -- bench -m model.gguf -p 0 -n 32 -r 1 -o json
    tools/bench_compare.py old/kernels_bench new/kernels_bench -- --benchmark_filter=two_bit/avx2

OLD and NEW are two builds of the same program, `tern` or a benchmark. Both are run seven times (--runs), in turns, so that whatever
else the machine does meets both. For each measurement: "better" only if the worst run of NEW beats the best of OLD, "worse" only
if the best of NEW stays behind the worst of OLD, else "same", with the ratio of the medians. Exits with 1 if anything is worse.

Without ARGUMENTS, tern is run as `tern bench -r 1 -o json`, a benchmark as it is. ARGUMENTS must leave the output JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys


def speeds_of(output):
    """name -> speed, larger is better, from the JSON of `tern bench` or of Google Benchmark."""
    data = json.loads(output)
    if "results" in data:
        return {" ".join(str(row[key]) for key in ("model", "kernels", "packing", "test", "n_threads")):
                row["tokens_per_second"] for row in data["results"]}
    speeds = {}
    for row in data["benchmarks"]:
        if row.get("run_type", "iteration") == "iteration":
            speeds[row["name"]] = row.get("op/s") or row.get("bytes_per_second") or 1 / row["real_time"]
    return speeds


def command_for(program, arguments):
    if os.path.basename(program) == "tern":
        return [program, *(arguments or ["bench", "-r", "1", "-o", "json"])]
    return [program, "--benchmark_format=json", *arguments]


def measure(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr.decode(errors='replace')[-2000:]}")
    try:
        return speeds_of(done.stdout)
    except (ValueError, KeyError) as error:
        sys.exit(f"{' '.join(command)}: expected JSON of tern bench or Google Benchmark: {error}")


def verdict(old, new):
    if min(new) > max(old):
        return "better"
    if max(new) < min(old):
        return "worse"
    return "same"


def compare(old_runs, new_runs):
    """[(name, verdict, ratio of medians)] of what both programs measured."""
    names = [name for name in old_runs[0] if name in new_runs[0]]
    rows = []
    for name in names:
        old, new = [run[name] for run in old_runs], [run[name] for run in new_runs]
        rows.append((name, verdict(old, new), statistics.median(new) / statistics.median(old)))
    return rows


def self_test():
    assert verdict([1, 2], [3, 4]) == "better"
    assert verdict([3, 4], [1, 2]) == "worse"
    assert verdict([1, 3], [2, 4]) == "same"
    assert verdict([2, 2], [2, 2]) == "same"
    rows = compare([{"a": 1.0, "b": 5.0}, {"a": 3.0, "b": 5.0}], [{"a": 8.0}, {"a": 4.0}])
    assert rows == [("a", "better", 3.0)], rows


def main():
    arguments = sys.argv[1:]
    passed_on = []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, passed_on = arguments[:cut], arguments[cut + 1:]
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("old", nargs="?")
    parser.add_argument("new", nargs="?")
    parser.add_argument("--runs", type=int, default=7, help="of each program (7)")
    parser.add_argument("--self-test", action="store_true")
    options = parser.parse_args(arguments)
    if options.self_test:
        return self_test()
    if not options.new or options.runs < 2:
        parser.error("two programs are needed, and at least two runs of each")
    old_runs, new_runs = [], []
    for run in range(options.runs):
        # Who goes first changes, so that neither always finds the machine as the other left it.
        pairs = [(options.old, old_runs), (options.new, new_runs)]
        for program, runs in pairs if run % 2 == 0 else reversed(pairs):
            runs.append(measure(command_for(program, passed_on)))
        if sys.stderr.isatty():
            print(f"\r{run + 1} of {options.runs} runs", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    rows = compare(old_runs, new_runs)
    if not rows:
        sys.exit("the two programs measured nothing in common")
    width = max(len(name) for name, _, _ in rows)
    for name, word, ratio in rows:
        print(f"{name:{width}}  {word:6}  {ratio:.3f}x")
    sys.exit(1 if any(word == "worse" for _, word, _ in rows) else 0)


if __name__ == "__main__":
    main()
