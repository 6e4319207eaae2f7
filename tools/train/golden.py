#!/usr/bin/env python3
"""Writes the golden logits of a model file, for testing engines against.

    golden.py FILE -o tests/golden/tern-tiny-logits.json [--checkpoint OUT/checkpoint.pt]

The numbers are those of the plain float32 pass of reference.py over the file's own tensors. With
the checkpoint of the training, the training code's float32 pass must agree to within what int8
rounding explains (a float32 difference of one unit can move an activation by one of its 127 steps).
"""

import argparse
import hashlib
import json
import pathlib

import numpy as np

from reference import Reference

# The beginning of text, then "Once upon a time, there was a little girl named Lily. She had a small
# red ball and she loved to play".
TOKENS = [0, 488, 466, 259, 420, 12, 413, 289, 259, 400, 512, 467, 450, 14, 360, 351, 259, 665, 778,
          568, 268, 362, 583, 269, 364]


def training_logits(checkpoint, table):
    """The same from the training code, with the embedding as the file holds it."""
    import torch

    from model import Config, Tern

    state = torch.load(checkpoint, map_location="cpu")
    model = Tern(Config(**state["config"]))
    model.load_state_dict(state["model"])
    with torch.no_grad():
        model.token_embd.copy_(torch.from_numpy(table.copy()))
        return model.logits(torch.tensor([TOKENS]))[0].numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    parser.add_argument("--checkpoint", type=pathlib.Path)
    args = parser.parse_args()
    model = Reference(args.model)
    logits = model.logits(TOKENS)
    if args.checkpoint:
        other = training_logits(args.checkpoint, model.tensors["token_embd.weight"])
        rms = np.sqrt(np.mean((logits - other) ** 2) / np.mean(logits**2))
        print(f"training code: relative rms difference {rms:.2e}, argmax equal at "
              f"{np.mean(logits.argmax(1) == other.argmax(1)):.0%} of positions")
        assert rms < 1e-2
    golden = {
        "about": "float32 logits of models/tern-tiny.gguf, made by tools/train/golden.py",
        "model_sha256": hashlib.sha256(args.model.read_bytes()).hexdigest(),
        "tokens": TOKENS,
        "argmax": logits.argmax(axis=1).tolist(),
        "last_logits": [float(f"{v:.7g}") for v in logits[-1]],
    }
    args.output.write_text(json.dumps(golden, separators=(",", ":")).replace(',"', ',\n"') + "\n")


if __name__ == "__main__":
    main()
