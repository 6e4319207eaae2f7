#!/usr/bin/env python3
"""Adds one line to the history of this machine's speeds: tern bench -o json | append.py [FOLDER]

benchmarks/history/<processor>.jsonl gets {"date", "commit", "cpu", "tern", "notes", "results": {test: tokens/s}}: one line a night,
to be plotted or compared by whoever wonders when something became slower. tools/nightly.sh calls it.
"""

import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    data = json.load(sys.stdin)
    commit = subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True,
                            check=False).stdout.strip()
    line = {key: data[key] for key in ("date", "cpu", "tern", "notes")}
    line["commit"] = commit
    line["results"] = {f"{row['model']} {row['packing']} {row['test']} t{row['n_threads']}":
                       [round(row["tokens_per_second"], 2), round(row["tokens_per_second_half_range"], 2)]
                       for row in data["results"]}
    line["bandwidth_gb_s"] = round(data["results"][0]["bandwidth_gigabytes_per_second"], 1)
    name = re.sub(r"[^a-z0-9]+", "-", data["cpu"].lower()).strip("-")
    folder = sys.argv[1] if len(sys.argv) > 1 else HERE
    with open(os.path.join(folder, name + ".jsonl"), "a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
