#!/usr/bin/env python3
"""Do files of `tern convert` mean to llama.cpp what they mean to Tern? Converts tiny Hugging Face folders of the architecture `llama`,
whose rows of queries and keys a GGUF file has in another order, and compares the likeliest next token of both programs.

    benchmarks/peers/agree.py [--tern build/release/tools/tern]

Needs node, npm and, the first time, a network (see compare.py), and numpy. Files of floats must agree on every list of tokens;
with TQ1_0 and TQ2_0 llama.cpp rounds activations otherwise than BitNet models were trained, so that a near tie may fall to
another token. Exit code 1 if too few agree.
"""

import argparse
import json
import os
import random
import sys

import numpy as np

from compare import HERE, ROOT, install_peer, run

# folder, type, embedding type, how many of 40 must agree
CASES = [("llama-tq2_0-groups", "tq1_0", "q8_0", 36), ("llama-tq2_0-groups", "tq2_0", "q8_0", 36),
         ("llama-tq2_0-groups", "f32", "q8_0", 40), ("llama-bf16", "bf16", "bf16", 40)]
BEGIN = 268  # of the golden models' vocabulary, whose first 256 tokens are bytes


def likeliest(tern, model, tokens, scratch):
    run([tern, "logits", "-m", model, "--tokens", ",".join(map(str, tokens)), "-o", scratch])
    return int(np.fromfile(scratch, "<f4").reshape(len(tokens), -1)[-1].argmax())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--tern", default=os.path.join(ROOT, "build", "release", "tools", "tern"))
    parser.add_argument("--folder", default=os.path.join(ROOT, "build", "peers"))
    options = parser.parse_args()
    tern, folder = os.path.abspath(options.tern), os.path.abspath(options.folder)
    os.makedirs(folder, exist_ok=True)
    print(install_peer(folder))
    rng = random.Random(3)
    lists = [[BEGIN] + [rng.randrange(256) for _ in range(rng.randrange(1, 20))] for _ in range(40)]
    with open(os.path.join(folder, "lists.json"), "w") as file:
        json.dump(lists, file)
    failed = False
    for name, kind, embedding, needed in CASES:
        model = os.path.join(folder, f"agree-{name}-{kind}.gguf")
        run([tern, "convert", os.path.join(ROOT, "tests", "golden", "hf", name), model, "--type", kind,
             "--embedding-type", embedding, "--force"])
        output = run(["node", os.path.join(HERE, "greedy.mjs"), model, "lists.json"], cwd=folder)
        theirs = json.loads(output.strip().splitlines()[-1])
        scratch = os.path.join(folder, "agree.f32")
        same = sum(a == likeliest(tern, model, tokens, scratch) for a, tokens in zip(theirs, lists))
        failed |= same < needed
        print(f"{name} as {kind}, embedding {embedding}: {same} of {len(lists)} agree, at least {needed} must")
    sys.exit(failed)


if __name__ == "__main__":
    main()
