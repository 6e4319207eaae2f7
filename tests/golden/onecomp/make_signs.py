#!/usr/bin/env python3
"""Writes tiny random Llama models in the forms of OneBit, LittleBit and NanoQuant, and their logits: tests/golden/onecomp/NAME/.

    python3 -m venv v && v/bin/pip install numpy==2.2.6 torch==2.5.1 transformers==4.57.1
    v/bin/python make_signs.py

No checkpoint of these was at hand and their programs train on GPUs. Names, shapes and packing are those of their sources
(xuyuzhuang11/OneBit: BitLinearInf; SamsungLabs/LittleBit and NanoQuant: the packed state of LittleBitLinear and NanoQuantLinear); the
files are written here, with numpy. The truth is transformers' LlamaForCausalLM in float32 with each linear layer replaced by a module
that computes what those projects say in plain matrix products: logits.f32, [tokens, vocabulary], little-endian.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "hf")]
import make_hf  # noqa: E402

TOKENS = 8
CONFIG = {
    "hidden_act": "silu",
    "hidden_size": 40,  # rows of signs end within a word of 32
    "intermediate_size": 72,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "vocab_size": 272,
}
LAYERS = {  # rows, columns, rank
    "self_attn.q_proj": (32, 40, 21),
    "self_attn.k_proj": (16, 40, 13),
    "self_attn.v_proj": (16, 40, 13),
    "self_attn.o_proj": (40, 32, 21),
    "mlp.gate_proj": (72, 40, 35),
    "mlp.up_proj": (72, 40, 35),
    "mlp.down_proj": (40, 72, 35),
}


def signs(rng, rows, cols):
    return rng.choice(np.array([-1, 1]), (rows, cols))


def scales(rng, size, mean):
    return (mean * rng.uniform(0.5, 1.5, size) * rng.choice([-1.0, 1.0], size)).astype(np.float16)


def rows_of_bits(matrix, multiple):
    """-1 as 1, the first column in the lowest bit, rows filled up with +1."""
    rows, cols = matrix.shape
    bits = np.zeros((rows, cols + -cols % multiple), np.uint8)
    bits[:, :cols] = matrix < 0
    return np.packbits(bits, axis=1, bitorder="little")


def words(matrix):
    return rows_of_bits(matrix, 32).view("<i4")


def tensor(values):
    return torch.from_numpy(values.astype(np.float32))


def onebit(rng, rows, cols, _):
    s, g, h = signs(rng, rows, cols), scales(rng, cols, 1.0), scales(rng, rows, cols**-0.5)
    parts = {"weight": rows_of_bits(s, 8).view(np.int8), "input_factor": g, "weight_scale": h}
    norm = torch.nn.LayerNorm(rows, elementwise_affine=False)
    return parts, lambda x: norm((x * tensor(g)) @ tensor(s).T * tensor(h))


def factors(rng, rows, cols, rank):
    u, v = signs(rng, rows, rank), signs(rng, rank, cols)
    parts = {"U_packed": words(u), "V_packed": words(v)}
    parts.update(U_shape=np.array(u.shape, np.int64), V_shape=np.array(v.shape, np.int64))
    return u, v, parts


def littlebit(rng, rows, cols, rank):
    parts, paths = {}, []
    for suffix, mean in (("", 1.0), ("_R", 0.5)):
        u, v, own = factors(rng, rows, cols, rank)
        own = {name.replace("_", f"{suffix}_", 1): values for name, values in own.items()}
        u1, u2 = scales(rng, (1, rows), mean), scales(rng, (1, rank), 1.0)
        v1, v2 = scales(rng, (1, rank), (rank * cols) ** -0.5), scales(rng, (1, cols), 1.0)
        own.update({f"{n}{suffix}": values for n, values in (("u1", u1), ("u2", u2), ("v1", v1), ("v2", v2))})
        parts.update(own)
        paths.append([tensor(values) for values in (u, v, u1, u2, v1, v2)])
    parts["_split_dim_final"] = np.array(rank, np.int64)
    return parts, lambda x: sum(((x * v2) @ v.T * (v1 * u2)) @ u.T * u1 for u, v, u1, u2, v1, v2 in paths)


def nanoquant(rng, rows, cols, rank):
    u, v, parts = factors(rng, rows, cols, rank)
    middle = rows != 72  # only some runs of the tool have it
    pre, mid, post = scales(rng, (1, cols), 1.0), scales(rng, (1, rank), (rank * cols) ** -0.5), scales(rng, (1, rows), 1.0)
    if not middle:
        mid, post = np.ones((1, rank), np.float16), scales(rng, (1, rows), (rank * cols) ** -0.5)
    parts.update(scale_pre=pre, scale_post=post, **({"scale_mid": mid} if middle else {}))
    u, v, pre, mid, post = map(tensor, (u, v, pre, mid, post))
    return parts, lambda x: ((x * pre) @ v.T * mid) @ u.T * post


class Layer(torch.nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.forward = forward


def write(name, architecture, factor, tokens):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(17)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**CONFIG, attn_implementation="eager")).float().eval()
    plain = {}
    for key, values in model.state_dict().items():
        if "_proj" in key or key == "lm_head.weight":
            continue
        norm = key.endswith("norm.weight")
        plain[key] = (rng.uniform(0.5, 1.5, values.shape) if norm else rng.normal(0, 0.25, values.shape)).astype(np.float16)
    model.load_state_dict({key: tensor(values) for key, values in plain.items()}, strict=False)
    model.tie_weights()
    tensors = dict(plain)
    for i, layer in enumerate(model.model.layers):
        for suffix, shape in LAYERS.items():
            parts, forward = factor(rng, *shape)
            parent, child = suffix.split(".")
            setattr(getattr(layer, parent), child, Layer(forward))
            tensors.update({f"model.layers.{i}.{suffix}.{part}": values for part, values in parts.items()})
    make_hf.save(folder / "model.safetensors", tensors)
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0].numpy()
    logits.astype("<f4").tofile(folder / "logits.f32")
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture], **CONFIG}, indent=1) + "\n")
    make_hf.tokenizer_files(folder)
    print(name, "standard deviation of the logits", logits.std())


def main():
    tokens = json.loads((HERE.parent / "models/manifest.json").read_text())["tokens"][:TOKENS]
    write("onebit-original", "BitLlamaForCausalLMInf", onebit, tokens)
    write("littlebit", "LlamaForCausalLM", littlebit, tokens)
    write("nanoquant", "LlamaForCausalLM", nanoquant, tokens)


if __name__ == "__main__":
    main()
