#!/usr/bin/env python3
"""Writes a GGUF file of a real model's shape with random weights: to measure loading, memory and
speed without the model.

    python3 tools/synth_gguf.py --shape bitnet-2b-4t --type i2_s --embedding q6_k -o synth.gguf

The file is valid in every part: keys, tensor names and types as the real file has them, weights
scaled so that activations keep their size, and a byte-level tokenizer of the real vocabulary's size
that encodes any text. The text it generates is noise. Memory stays below 200 MB, whatever the size
of the file. Needs numpy.
"""

import argparse
import itertools
import string
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

import gguf_writer as w

CHUNK_BLOCKS = 1 << 18  # blocks made at a time


class Shape(NamedTuple):
    arch: str
    layers: int
    d: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    theta: float
    eps: float
    tied: bool


# fmt: off
SHAPES = {
    "bitnet-2b-4t": Shape("bitnet-b1.58", 30, 2560, 6912, 20, 5, 128, 128256, 4096, 5e5, 1e-5, True),
    "bitnet-large": Shape("bitnet", 24, 1536, 4096, 16, 16, 96, 32002, 2048, 10000.0, 1e-5, True),
    "falcon3-1b": Shape("llama", 18, 2048, 8192, 8, 4, 256, 131072, 8192, 1000042.0, 1e-6, False),
    "falcon3-7b": Shape("llama", 28, 3072, 23040, 12, 4, 256, 131072, 8192, 1000042.0, 1e-6, False),
    "llama3-8b": Shape("llama", 32, 4096, 14336, 32, 8, 128, 128256, 8192, 5e5, 1e-5, False),
    "trilm-99m": Shape("llama", 16, 512, 1280, 8, 8, 64, 50304, 2048, 10000.0, 1e-5, False),
    "bonsai-1.7b": Shape("qwen3", 28, 2048, 6144, 16, 8, 128, 151936, 32768, 1000000.0, 1e-6, True),
    "small": Shape("bitnet-b1.58", 4, 512, 1280, 8, 2, 64, 4096, 2048, 10000.0, 1e-5, True),
}
# fmt: on

# Every byte that holds four codes 0..2, and the halves at 65536 equal steps of the normal
# distribution.
TRIT_BYTES = np.array(
    [a << 6 | b << 4 | c << 2 | d for a, b, c, d in itertools.product(range(3), repeat=4)], np.uint8
)
NORMAL = np.array([NormalDist().inv_cdf((i + 0.5) / 4096) for i in range(4096)], np.float32)


def halves(value, count):
    return np.full((count, 1), value, np.float16).view(np.uint8)


def base3_bytes(rng, shape, digits):
    """TQ1_0: `digits` trits as ceil(v * 256 / 243), v in base 3 with the first trit most
    significant of five."""
    v = rng.integers(0, 3**digits, shape, np.uint16) * 3 ** (5 - digits)
    return ((v * 256 + 242) // 243).astype(np.uint8)


# Each: bytes [count, bytes of a block] of blocks whose weights have about the standard deviation
# `std`. For ternary weights, with all three equally likely, that is sqrt(2/3) of their scale.


def blocks_i2_s(rng, count, std):
    return TRIT_BYTES[rng.integers(0, 81, (count, 32), np.uint8)]


def blocks_tq2_0(rng, count, std):
    return np.concatenate(
        [TRIT_BYTES[rng.integers(0, 81, (count, 64), np.uint8)], halves(std * 1.5**0.5, count)], 1
    )


def blocks_tq1_0(rng, count, std):
    return np.concatenate(
        [
            base3_bytes(rng, (count, 48), 5),
            base3_bytes(rng, (count, 4), 4),
            halves(std * 1.5**0.5, count),
        ],
        1,
    )


def blocks_f16(rng, count, std):
    return (
        (NORMAL * std)
        .astype(np.float16)[rng.integers(0, 4096, (count, 1), np.uint16)]
        .view(np.uint8)
    )


def blocks_f32(rng, count, std):
    return (NORMAL * std)[rng.integers(0, 4096, (count, 1), np.uint16)].view(np.uint8)


def blocks_q8_0(rng, count, std):
    q = np.clip(np.round(NORMAL * 32), -127, 127).astype(np.int8)
    return np.concatenate(
        [halves(std / 32, count), q[rng.integers(0, 4096, (count, 32), np.uint16)].view(np.uint8)],
        1,
    )


def blocks_q4_0(rng, count, std):
    return np.concatenate(
        [halves(std / 4.6, count), rng.integers(0, 256, (count, 16), np.uint8)], 1
    )


def blocks_q6_k(rng, count, std):
    scales = rng.integers(-127, -30, (count, 16), np.int8).view(np.uint8)
    return np.concatenate(
        [rng.integers(0, 256, (count, 192), np.uint8), scales, halves(std / 18.5 / 80, count)], 1
    )


class Kind(NamedTuple):
    type_id: int
    block: int  # weights
    size: int  # bytes
    make: object
    file_type: int  # general.file_type


KINDS = {
    "i2_s": Kind(w.I2_S, 128, 32, blocks_i2_s, 40),
    "tq2_0": Kind(w.TQ2_0, 256, 66, blocks_tq2_0, 37),
    "tq1_0": Kind(w.TQ1_0, 256, 54, blocks_tq1_0, 36),
    "f16": Kind(w.F16, 1, 2, blocks_f16, 1),
    "f32": Kind(w.F32, 1, 4, blocks_f32, 0),
    "q8_0": Kind(w.Q8_0, 32, 34, blocks_q8_0, 7),
    "q4_0": Kind(w.Q4_0, 32, 18, blocks_q4_0, 2),
    "q6_k": Kind(w.Q6_K, 256, 210, blocks_q6_k, 18),
}


def matrix_bytes(kind, rows, cols):
    if kind.type_id != w.I2_S and cols % kind.block or rows * cols % kind.block:
        raise SystemExit(
            f"rows of {cols} weights do not divide into blocks of {kind.block}: choose another type"
        )
    return rows * cols // kind.block * kind.size + (32 if kind.type_id == w.I2_S else 0)


def matrix_chunks(kind, rows, cols, rng, std):
    left = rows * cols // kind.block
    per_chunk = max(1, CHUNK_BLOCKS * 64 // kind.size)
    while left:
        count = min(left, per_chunk)
        yield np.ascontiguousarray(kind.make(rng, count, std)).tobytes()
        left -= count
    if kind.type_id == w.I2_S:
        yield np.float32(std * 1.5**0.5).tobytes() + bytes(28)


def tensors_of(s, linear, embedding):
    """(name, rows or 0 for a norm, columns, kind, standard deviation)"""
    q, kv = s.heads * s.head_dim, s.kv_heads * s.head_dim
    sub_norms = s.arch.startswith("bitnet")

    def matrix(name, rows, cols):
        return (name + ".weight", rows, cols, linear, cols**-0.5)

    def norm(name, size):
        return (name + ".weight", 0, size, None, 0)

    yield ("token_embd.weight", s.vocab, s.d, embedding, s.d**-0.5)
    yield norm("output_norm", s.d)
    if not s.tied:
        yield ("output.weight", s.vocab, s.d, embedding, s.d**-0.5)
    for i in range(s.layers):
        blk = f"blk.{i}."
        yield norm(blk + "attn_norm", s.d)
        if sub_norms:
            yield norm(blk + "attn_sub_norm", q)
            yield norm(blk + "ffn_sub_norm", s.ffn)
        if s.arch == "qwen3":
            yield norm(blk + "attn_q_norm", s.head_dim)
            yield norm(blk + "attn_k_norm", s.head_dim)
        yield norm(blk + "ffn_norm", s.d)
        yield matrix(blk + "attn_q", q, s.d)
        yield matrix(blk + "attn_k", kv, s.d)
        yield matrix(blk + "attn_v", kv, s.d)
        yield matrix(blk + "attn_output", s.d, q)
        yield matrix(blk + "ffn_gate", s.ffn, s.d)
        yield matrix(blk + "ffn_up", s.ffn, s.d)
        yield matrix(blk + "ffn_down", s.d, s.ffn)


def byte_characters():
    """GPT-2's spelling of the 256 bytes: printable ones are themselves, the others characters from
    256 up."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spelling = {b: chr(b) for b in printable}
    for b in range(256):
        spelling.setdefault(b, chr(256 + len(spelling) - len(printable)))
    return [spelling[b] for b in range(256)]


def tokenizer_keys(vocab):
    """Byte-level BPE: the bytes, then words of two, three and four small letters, each merged from
    two shorter ones."""
    letters = string.ascii_lowercase
    pairs = [a + b for a, b in itertools.product(letters, repeat=2)]
    words = itertools.chain(
        ((a, b) for a, b in itertools.product(letters, repeat=2)),
        itertools.product(pairs, letters),
        itertools.product(pairs, pairs),
    )
    special = 256 if vocab > 4096 else 16
    merges = list(itertools.islice(words, vocab - 256 - special))
    bos = vocab - special
    names = {0: "<|begin_of_text|>", 1: "<|end_of_text|>", 9: "<|eot_id|>"}
    control = [names.get(i, f"<|reserved_special_token_{i}|>") for i in range(special)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": byte_characters() + [a + b for a, b in merges] + control,
        "tokenizer.ggml.token_type": w.I32([1] * bos + [3] * special),
        "tokenizer.ggml.merges": [f"{a} {b}" for a, b in merges],
        "tokenizer.ggml.bos_token_id": bos,
        "tokenizer.ggml.eos_token_id": bos + 9,
        "tokenizer.ggml.add_bos_token": True,
    }


def keys_of(s, shape_name, linear):
    a = s.arch
    keys = {
        "general.architecture": a,
        "general.name": f"random {shape_name}",
        "general.file_type": linear.file_type,
        f"{a}.vocab_size": s.vocab,
        f"{a}.context_length": s.context,
        f"{a}.embedding_length": s.d,
        f"{a}.block_count": s.layers,
        f"{a}.feed_forward_length": s.ffn,
        f"{a}.attention.head_count": s.heads,
        f"{a}.attention.head_count_kv": s.kv_heads,
        f"{a}.attention.key_length": s.head_dim,
        f"{a}.attention.value_length": s.head_dim,
        f"{a}.attention.layer_norm_rms_epsilon": s.eps,
        f"{a}.rope.dimension_count": s.head_dim,
        f"{a}.rope.freq_base": s.theta,
    }
    return keys | tokenizer_keys(s.vocab)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="bitnet-2b-4t")
    parser.add_argument("--type", choices=KINDS, default="i2_s", help="of the linear layers")
    parser.add_argument(
        "--embedding",
        choices=[k for k in KINDS if k != "i2_s"],
        default="f16",
        help="of the token embedding and the head",
    )
    parser.add_argument("--layers", type=int, help="fewer or more layers than the shape has")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", required=True)
    args = parser.parse_args()

    shape = SHAPES[args.shape]
    if args.layers:
        shape = shape._replace(layers=args.layers)
    linear, embedding = KINDS[args.type], KINDS[args.embedding]
    rng = np.random.Generator(np.random.SFC64(args.seed))
    tensors = list(tensors_of(shape, linear, embedding))
    with w.GgufWriter(args.output) as out:
        out.keys(keys_of(shape, args.shape, linear))
        for name, rows, cols, kind, _ in tensors:
            if rows:
                out.tensor(name, (cols, rows), kind.type_id, matrix_bytes(kind, rows, cols))
            else:
                out.tensor(name, (cols,), w.F32, 4 * cols)
        for _, rows, cols, kind, std in tensors:
            if rows:
                for chunk in matrix_chunks(kind, rows, cols, rng, std):
                    out.data(chunk)
            else:
                out.data(np.ones(cols, np.float32).tobytes())


if __name__ == "__main__":
    main()
