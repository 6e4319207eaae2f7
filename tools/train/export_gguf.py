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

from gguf_writer import GgufWriter, I32  # isort: skip; gguf_file.py has put it on the path

ARCHITECTURE = "bitnet-b1.58"

# A request begins with <|user|>, its answer with <|assistant|>, and <|endoftext|> ends the answer.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message.role == 'user' -%}{{ '<|user|>' + message.content }}
{%- elif message.role == 'assistant' -%}
{{ '<|assistant|>' + message.content + ('' if loop.last else '<|endoftext|>') }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"""


def model_keys(c, file_type):
    keys = {
        "general.architecture": ARCHITECTURE,
        "general.name": "Tern Tiny",
        "general.description": "A small ternary model that writes simple stories",
        "general.license": "apache-2.0",
        "general.file_type": file_type,
    }
    of_architecture = {
        "vocab_size": c["vocab_size"],
        "context_length": c["context"],
        "embedding_length": c["dim"],
        "block_count": c["layers"],
        "feed_forward_length": c["ffn"],
        "attention.head_count": c["heads"],
        "attention.head_count_kv": c["kv_heads"],
        "attention.layer_norm_rms_epsilon": c["eps"],
        "rope.dimension_count": c["head_dim"],
        "rope.freq_base": c["rope_base"],
    }
    return keys | {f"{ARCHITECTURE}.{name}": value for name, value in of_architecture.items()}


def tokenizer_keys(path):
    model = json.loads(path.read_text(encoding="utf-8"))["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    normal, control = 1, 3
    special = [t for t in ("<|endoftext|>", "<|user|>", "<|assistant|>") if t in model["vocab"]]
    keys = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": I32([control if t in special else normal for t in tokens]),
        "tokenizer.ggml.merges": [m if isinstance(m, str) else " ".join(m)
                                  for m in model["merges"]],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
    }
    if "<|user|>" in special:
        keys["tokenizer.chat_template"] = CHAT_TEMPLATE
    return keys


def encoded(name, value, kind):
    """(type, bytes) of a parameter; `kind` is the type of the ternary matrices."""
    if value.dim() == 1:
        return gguf.F32, gguf.encode_f32(value.numpy())
    if name == "token_embd":
        return gguf.Q8_0, gguf.encode_q8_0(value.numpy())
    trits, scale = ternary(value)
    encode = gguf.encode_i2_s if kind == gguf.I2_S else gguf.encode_tq2_0
    return kind, encode(trits.numpy(), scale.item())


def write(path, keys, state, kind):
    tensors = {name: encoded(name, value, kind) for name, value in state.items()}
    with GgufWriter(path) as out:
        out.keys(keys)
        for name, (type_id, data) in tensors.items():
            out.tensor(name + ".weight", tuple(state[name].shape)[::-1], type_id, len(data))
        for _, data in tensors.values():
            out.data(data)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    parser.add_argument("--type", choices=["i2_s", "tq2_0"], default="i2_s")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    args = parser.parse_args()
    checkpoint = torch.load(args.checkpoint, map_location="cpu")
    state = {k: v.float() for k, v in checkpoint["model"].items()}
    # The file types are bitnet.cpp's and llama.cpp's numbers for "mostly I2_S" and "mostly TQ2_0".
    kind, file_type = (gguf.I2_S, 40) if args.type == "i2_s" else (gguf.TQ2_0, 37)
    keys = model_keys(checkpoint["config"], file_type) | tokenizer_keys(args.tokenizer)
    write(args.output, keys, state, kind)
    ternaries = [ternary(v)[0] for k, v in state.items() if v.dim() == 2 and k != "token_embd"]
    zeros = np.mean([(t == 0).float().mean().item() for t in ternaries])
    print(f"{args.output}: {args.output.stat().st_size} bytes, "
          f"{sum(t.numel() for t in ternaries)} ternary weights, {zeros:.1%} zero, "
          f"after {checkpoint['step']} steps and {checkpoint['tokens']} tokens")


if __name__ == "__main__":
    main()
