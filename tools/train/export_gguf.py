#!/usr/bin/env python3
"""Writes a checkpoint of train.py as a GGUF file.

    export_gguf.py --checkpoint OUT/checkpoint.pt --tokenizer DATA/tokenizer.json -o FILE

The ternary matrices go out as I2_S, whose float32 scale is exact, or as TQ2_0 (float16 scales), the
tied embedding as Q8_0, the norms as float32. Names and keys are those of bitnet.cpp's architecture
`bitnet-b1.58`, with rotate-half rotary positions, so nothing is permuted.
"""

import argparse
import json
import pathlib

import numpy as np
import torch

import gguf_file as gguf
from model import ternary

ARCHITECTURE = "bitnet-b1.58"


def model_metadata(c):
    def key(name):
        return f"{ARCHITECTURE}.{name}"

    return [
        ("general.architecture", gguf.STRING, ARCHITECTURE),
        ("general.name", gguf.STRING, "Tern Tiny"),
        ("general.description", gguf.STRING, "A small ternary model that writes simple stories"),
        ("general.license", gguf.STRING, "apache-2.0"),
        ("general.file_type", gguf.UINT32, 40),  # mostly I2_S, in bitnet.cpp's numbering
        (key("vocab_size"), gguf.UINT32, c["vocab_size"]),
        (key("context_length"), gguf.UINT32, c["context"]),
        (key("embedding_length"), gguf.UINT32, c["dim"]),
        (key("block_count"), gguf.UINT32, c["layers"]),
        (key("feed_forward_length"), gguf.UINT32, c["ffn"]),
        (key("attention.head_count"), gguf.UINT32, c["heads"]),
        (key("attention.head_count_kv"), gguf.UINT32, c["kv_heads"]),
        (key("attention.layer_norm_rms_epsilon"), gguf.FLOAT32, c["eps"]),
        (key("rope.dimension_count"), gguf.UINT32, c["head_dim"]),
        (key("rope.freq_base"), gguf.FLOAT32, c["rope_base"]),
    ]


def tokenizer_metadata(path):
    model = json.loads(path.read_text(encoding="utf-8"))["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    normal, control = 1, 3
    return [
        ("tokenizer.ggml.model", gguf.STRING, "gpt2"),
        ("tokenizer.ggml.pre", gguf.STRING, "gpt-2"),
        ("tokenizer.ggml.tokens", (gguf.ARRAY, gguf.STRING), tokens),
        ("tokenizer.ggml.token_type", (gguf.ARRAY, gguf.INT32),
         [control if i == 0 else normal for i in range(len(tokens))]),
        ("tokenizer.ggml.merges", (gguf.ARRAY, gguf.STRING), merges),
        ("tokenizer.ggml.bos_token_id", gguf.UINT32, 0),
        ("tokenizer.ggml.eos_token_id", gguf.UINT32, 0),
        ("tokenizer.ggml.add_bos_token", gguf.BOOL, True),
    ]


def tensors(state, kind):
    encoders = {gguf.I2_S: gguf.encode_i2_s, gguf.TQ2_0: gguf.encode_tq2_0}
    for name, value in state.items():
        shape = tuple(value.shape)
        if value.dim() == 1:
            yield name + ".weight", gguf.F32, shape, gguf.encode_f32(value.numpy())
        elif name == "token_embd":
            yield name + ".weight", gguf.Q8_0, shape, gguf.encode_q8_0(value.numpy())
        else:
            trits, scale = ternary(value)
            yield name + ".weight", kind, shape, encoders[kind](trits.numpy(), scale.item())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    parser.add_argument("--type", choices=["i2_s", "tq2_0"], default="i2_s")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    args = parser.parse_args()
    checkpoint = torch.load(args.checkpoint, map_location="cpu")
    state = {k: v.float() for k, v in checkpoint["model"].items()}
    kind = gguf.I2_S if args.type == "i2_s" else gguf.TQ2_0
    metadata = model_metadata(checkpoint["config"]) + tokenizer_metadata(args.tokenizer)
    if kind == gguf.TQ2_0:
        metadata = [(k, t, 37 if k == "general.file_type" else v) for k, t, v in metadata]
    gguf.write(args.output, metadata, list(tensors(state, kind)))
    ternaries = [ternary(v)[0] for k, v in state.items() if v.dim() == 2 and k != "token_embd"]
    zeros = np.mean([(t == 0).float().mean().item() for t in ternaries])
    print(f"{args.output}: {args.output.stat().st_size} bytes, "
          f"{sum(t.numel() for t in ternaries)} ternary weights, {zeros:.1%} zero, "
          f"after {checkpoint['step']} steps and {checkpoint['tokens']} tokens")


if __name__ == "__main__":
    main()
