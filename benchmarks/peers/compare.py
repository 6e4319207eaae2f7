#!/usr/bin/env python3
"""Compares Tern with llama.cpp on the same files: random models of a real shape, in TQ2_0 and Q4_0.

    benchmarks/peers/compare.py [--tern build/release/tools/tern] [--shape falcon3-1b] [--threads 2]

llama.cpp comes as the npm package node-llama-cpp, with binaries for the processor at hand; needs node (18 or newer) and npm, and a
network the first time. Files and packages go to build/peers (--folder). The two engines take turns; figures are medians, with half
of the range. Prints a Markdown table, and with --json the samples.

The shape must be one of the architecture `llama`, so that both engines load the same file.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PACKAGE = "node-llama-cpp@3"


def run(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    return done.stdout


def install_peer(folder):
    for program in ("node", "npm"):
        if not shutil.which(program):
            sys.exit(f"{program} is not here: install the packages nodejs and npm")
    if not os.path.isdir(os.path.join(folder, "node_modules", "node-llama-cpp")):
        print("installing", PACKAGE, file=sys.stderr)
        with open(os.path.join(folder, "package.json"), "w") as file:
            json.dump({"private": True}, file)
        run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", PACKAGE], cwd=folder)
    with open(os.path.join(folder, "node_modules", "node-llama-cpp", "package.json")) as file:
        return "node-llama-cpp " + json.load(file)["version"]


def model_file(options, kind):
    name = f"{options.shape}-{kind}.gguf" if not options.layers else f"{options.shape}-{options.layers}-{kind}.gguf"
    path = os.path.join(options.folder, name)
    if not os.path.exists(path):
        layers = ["--layers", str(options.layers)] if options.layers else []
        run([options.tern, "synth", "--shape", options.shape, "--type", kind, "--embedding", "q6_k", *layers, "-o", path])
    return path


def tern_samples(options, path):
    output = run([options.tern, "bench", "-m", path, "-p", str(options.prompt), "-n", str(options.generated), "-t",
                  str(options.threads), "-r", "1", "--activations", options.activations, "-o", "json"])
    rows = json.loads(output)["results"]
    return {"prompt" if row["n_prompt"] else "generated": row["samples_tokens_per_second"] for row in rows}


def peer_samples(options, path):
    output = run(["node", os.path.join(HERE, "node_llama_cpp.mjs"), path, str(options.threads), str(options.prompt),
                  str(options.generated), "1"], cwd=options.folder)
    return json.loads(output.strip().splitlines()[-1])


def measure(options, path):
    """engine -> part -> samples"""
    samples = {"tern": {"prompt": [], "generated": []}, "peer": {"prompt": [], "generated": []}}
    for _ in range(options.repetitions):
        for engine, take in (("tern", tern_samples), ("peer", peer_samples)):
            for part, values in take(options, path).items():
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
    parser.add_argument("--types", default="tq2_0,q4_0")
    parser.add_argument("--activations", default="int8", help="Tern's; llama.cpp's have 8 bits for each of these types")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generated", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.tern, options.folder = os.path.abspath(options.tern), os.path.abspath(options.folder)
    os.makedirs(options.folder, exist_ok=True)
    peer = install_peer(options.folder)
    results = {kind: measure(options, model_file(options, kind)) for kind in options.types.split(",")}
    if options.json:
        print(json.dumps({"peer": peer, "shape": options.shape, "threads": options.threads, "results": results}))
        return
    print(f"{options.shape}, {options.threads} threads, {platform.machine()}, tokens/s, {options.repetitions} runs in turns, "
          f"Tern's activations {options.activations}\n")
    print(f"| file | test | Tern | {peer} | ratio |\n|---|---|---:|---:|---:|")
    for kind, samples in results.items():
        for part, test in (("prompt", f"pp{options.prompt}"), ("generated", f"tg{options.generated}")):
            ours, theirs = samples["tern"][part], samples["peer"][part]
            ratio = statistics.median(ours) / statistics.median(theirs)
            print(f"| {kind.upper()} | {test} | {cell(ours)} | {cell(theirs)} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
