#!/usr/bin/env python3
"""Do files of `tern convert` mean to other engines what they mean to Tern? Converts models, and compares the likeliest next token of both
programs: tiny Hugging Face folders of the architecture `llama`, whose rows of queries and keys a GGUF file has in another order, the
default model, and a random one of 2B-4T's shape.

    benchmarks/peers/agree.py [--tern build/release/tools/tern]

Needs what engines.py names, and numpy. Files of floats must agree on every list of tokens; with ternary types the others round
activations otherwise than Tern does, so that a near tie may fall to another token. Exit code 1 if too few agree.
"""

import argparse
import os
import random
import sys

import numpy as np

from engines import ROOT, IkLlamaCpp, LlamaCpp, run, synthesize

FOLDERS = os.path.join(ROOT, "tests", "golden", "hf")
TINY = os.path.join(ROOT, "models", "tern-tiny.gguf")
SHAPE = "bitnet-2b-4t"
# engine, model, type, embedding type, how many of 40 must agree
CASES = [
    (LlamaCpp, os.path.join(FOLDERS, "llama-tq2_0-groups"), "tq1_0", "q8_0", 30),
    (LlamaCpp, os.path.join(FOLDERS, "llama-tq2_0-groups"), "tq2_0", "q8_0", 30),
    (LlamaCpp, os.path.join(FOLDERS, "llama-tq2_0-groups"), "f32", "q8_0", 40),
    (LlamaCpp, os.path.join(FOLDERS, "llama-bf16"), "bf16", "bf16", 40),
    (IkLlamaCpp, TINY, "bf16", "bf16", 40),
    (IkLlamaCpp, SHAPE, "iq2_bn", "q6_k", 30),
]
BEGIN = 268  # of the golden models' vocabulary, whose first 256 tokens are bytes


def convert(tern, source, kind, embedding, path):
    if source == SHAPE:
        synthesize(tern, source, 2, kind, path)
    else:
        # The default model's scales have more bits than BF16 holds.
        lossy = ["--allow-lossy"] if source == TINY else []
        run([tern, "convert", source, path, "--type", kind, "--embedding-type", embedding, "--force", *lossy])


def likeliest(tern, model, tokens, scratch):
    run([tern, "logits", "-m", model, "--tokens", ",".join(map(str, tokens)), "-o", scratch, "--force"])
    return int(np.fromfile(scratch, "<f4").reshape(len(tokens), -1)[-1].argmax())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--tern", default=os.path.join(ROOT, "build", "release", "tools", "tern"))
    parser.add_argument("--folder", default=os.path.join(ROOT, "build", "peers"))
    options = parser.parse_args()
    tern = os.path.abspath(options.tern)
    rng = random.Random(3)
    lists = [[BEGIN] + [rng.randrange(256) for _ in range(rng.randrange(1, 20))] for _ in range(40)]
    peers = {kind: kind(options.folder) for kind in (LlamaCpp, IkLlamaCpp)}
    failed = False
    for kind, source, weights, embedding, needed in CASES:
        peer = peers[kind]
        name = os.path.basename(source)
        model, scratch = (os.path.join(peer.folder, file) for file in (f"agree-{name}-{weights}.gguf", "agree.f32"))
        convert(tern, source, weights, embedding, model)
        theirs = peer.likeliest(model, lists)
        same = sum(a == likeliest(tern, model, tokens, scratch) for a, tokens in zip(theirs, lists))
        failed |= same < needed
        print(f"{peer.name}: {name} as {weights}, embedding {embedding}: {same} of {len(lists)} agree, at least {needed} must")
    sys.exit(failed)


if __name__ == "__main__":
    main()
