#!/usr/bin/env python3
"""Measures the figures of RESULTS.md on this machine, and writes it.

    tools/dev build && benchmarks/results.py            # half an hour or so on two cores
    benchmarks/results.py --quick -o /dev/stdout        # a few minutes: a model of few layers, few repetitions

Everything comes from `tern bench -o json` on models that `tern synth` writes (to build/results), and from peers/compare.py.
"""

import argparse
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
SHAPE = "bitnet-2b-4t"


def run(command):
    print("$", " ".join(command), file=sys.stderr)
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def bench(options, *arguments):
    return json.loads(run([options.tern, "bench", "-r", str(options.repetitions), "-o", "json", *arguments]))


def tables_here(options):
    """Kernel tables that this CPU runs, best first."""
    lines = run([options.tern, "doctor"]).splitlines()
    return [line.replace("*", " ").split()[0] for line in lines if line.rstrip().endswith("runs here")]


def model_file(options):
    path = os.path.join(options.folder, f"{SHAPE}-{options.layers or 'whole'}.gguf")
    if not os.path.exists(path):
        layers = ["--layers", str(options.layers)] if options.layers else []
        run([options.tern, "synth", "--shape", SHAPE, "--type", "i2_s", "--embedding", "f16", *layers, "-o", path])
    return path


def percent(value):
    return f"{100 * value:.0f} %"


COLUMNS = {
    "kernels": lambda row: row["kernels"],
    "packing": lambda row: row["packing"],
    "test": lambda row: row["test"],
    "tokens/s": lambda row: f"{row['tokens_per_second']:.1f} +/- {row['tokens_per_second_half_range']:.1f}",
    "GB/s": lambda row: f"{row['gigabytes_per_second']:.1f}",
    "of read bandwidth": lambda row: percent(row["of_bandwidth"]) if row["n_gen"] else "",
    "TOPS": lambda row: f"{row['tops']:.3f}",
    "of the instruction's peak": lambda row: percent(row["of_peak"]) if row["n_prompt"] else "",
    "ms qkvo": lambda row: f"{row['ms_per_token_qkvo']:.2f}",
    "ffn": lambda row: f"{row['ms_per_token_ffn']:.2f}",
    "attention": lambda row: f"{row['ms_per_token_attention']:.2f}",
    "head": lambda row: f"{row['ms_per_token_head']:.2f}",
    "rest": lambda row: f"{row['ms_per_token_rest']:.2f}",
    "over fp16": lambda row: f"{row['speedup_over_fp16']:.1f}x" if row["speedup_over_fp16"] else "",
}


def table(rows):
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|---|---|" + "---:|" * (len(COLUMNS) - 3)]
    lines += ["| " + " | ".join(cell(row) for cell in COLUMNS.values()) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def section(title, text, data):
    notes = "".join(f"\n{note}\n" for note in data["notes"])
    return f"## {title}\n\n{text}\n\n{table(data['results'])}{notes}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--tern", default=os.path.join(ROOT, "build", "release", "tools", "tern"))
    parser.add_argument("-o", "--output", default=os.path.join(HERE, "RESULTS.md"))
    parser.add_argument("--folder", default=os.path.join(ROOT, "build", "results"))
    parser.add_argument("--threads", help="for all tests; default: the physical cores")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    options.layers = 4 if options.quick else 0
    options.repetitions = 2 if options.quick else options.repetitions
    sizes = ["-p", "128", "-n", "16"] if options.quick else ["-p", "512", "-n", "128"]
    threads = ["-t", options.threads] if options.threads else []
    os.makedirs(options.folder, exist_ok=True)

    model = model_file(options)
    common = ["-m", model, *sizes, *threads]
    # The portable table is correct, not fast: a prompt would take minutes.
    tables = [name for name in tables_here(options) if name != "portable"]
    by_table = bench(options, *common, "--isa", ",".join(tables))
    deep = bench(options, *common, "-d", "128" if options.quick else "0,2048")
    packings = bench(options, *common, "--packing", "two_bit,base3,bitplanes,bitplanes_masked")
    fp16 = bench(options, *common, "--vs-fp16")

    first = by_table["results"][0]
    text = f"""# Results

Written by `benchmarks/results.py`; run it again to measure your machine. Model: {SHAPE} ({first['model_n_params'] / 1e9:.2f} billion
parameters{f', cut to {options.layers} layers' if options.layers else ''}), random weights in I2_S, F16 embedding, which is the head too.
Medians of {options.repetitions} repetitions in turns, with half of their range.

- machine: {by_table['cpu']}, {first['n_threads']} threads
- read bandwidth beside the tests: {first['bandwidth_gigabytes_per_second']:.1f} GB/s
- date: {by_table['date'][:10]}, tern {by_table['tern']}

"of read bandwidth" compares bytes that a test reads (weights, keys and values) with what the same threads read of a set of that size at
that moment; "of the instruction's peak" compares multiplications with a loop of the table's own instruction in registers.

"""
    text += section("Instruction sets", "Each table with the packing that it chooses for a model of this size.", by_table)
    text += section("Long contexts", "The best table, with so many tokens (d) before the test.", deep)
    text += section("Packings", "The best table with each ternary kernel.", packings)
    text += section("Against fp16", "The same shape with F16 weights, by the same program.", fp16)
    if not options.no_peers:
        peers = [sys.executable, os.path.join(HERE, "peers", "compare.py"), "--tern", options.tern]
        peers += ["--layers", "2", "--repetitions", "1"] if options.quick else []
        text += "## Peers\n\nThe same files in llama.cpp (`benchmarks/peers/compare.py`).\n\n" + run(peers)
    with open(options.output, "w") as file:
        file.write(text)
    print(f"written: {options.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
