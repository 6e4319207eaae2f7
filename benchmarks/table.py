#!/usr/bin/env python3
"""Turns the JSON of kernels_bench and memory_bench into a Markdown table: table.py FILE... > results.md

One line a kernel and matrix, one column a batch: TOPS, and GB/s of weights for one token.
"""

import json
import sys


def read(paths):
    context, rows = {}, []
    for path in paths:
        with open(path) as file:
            data = json.load(file)
        context = data["context"]
        rows += data["benchmarks"]
    return context, rows


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    context, rows = read(sys.argv[1:])
    print(f"# Kernels on {context.get('cpu', context['host_name'])}\n\n{context['date']}, {context['num_cpus']} CPUs, one thread "
          "unless a line says otherwise.\n")
    ceilings = [row for row in rows if "/tokens:" not in row["name"]]
    if ceilings:
        print("| ceiling | |\n|---|---:|")
        for row in ceilings:
            value = (f"{row['bytes_per_second'] / 1e9:.1f} GB/s" if "bytes_per_second" in row
                     else f"{row['op/s'] / 1e12:.3f} TOPS")
            print(f"| {row['name'].removesuffix('/iterations:1')} | {value} |")
        print()
    batches, kernels = [], {}
    for row in rows:
        if "/tokens:" in row["name"]:
            name, tokens = row["name"].split("/tokens:")
            tokens = int(tokens.split("/")[0])
            batches += [tokens] if tokens not in batches else []
            kernels.setdefault(name, {})[tokens] = row
    print("| kernel / table / matrix | GB/s, 1 token |" + "".join(f" TOPS, {tokens} |" for tokens in batches))
    print("|---|---:|" + "---:|" * len(batches))
    for name, by_batch in kernels.items():
        one = f"{by_batch[1]['bytes_per_second'] / 1e9:.1f}" if 1 in by_batch else ""
        cells = [f"{by_batch[tokens]['op/s'] / 1e12:.3f}" if tokens in by_batch else "" for tokens in batches]
        print(f"| {name} | {one} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
