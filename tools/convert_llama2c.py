#!/usr/bin/env python3
"""Converts a llama2.c checkpoint (version 0, float32) and its tokenizer to a GGUF file of
architecture llama.

    python3 tools/convert_llama2c.py stories260K.bin tok512.bin stories260K.gguf

The checkpoint: seven int32 (dim, hidden dim, layers, heads, kv heads, vocabulary, sequence length;
a negative vocabulary says that the head is a matrix of its own), then float32 matrices, each kind
for all layers in turn. llama2.c rotates neighbouring values (2i, 2i + 1), as `llama` GGUF files
expect, so q and k are copied as they are. The tokenizer: int32 longest token, then for each token
float32 score, int32 length, bytes, with SentencePiece's space mark already turned into a space.

Standard library only.
"""

import argparse
import re
import struct
import sys

import gguf_writer as w

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6


def read_tokenizer(path, count):
    """(tokens as bytes in SentencePiece's spelling, scores, types)"""
    with open(path, "rb") as f:
        raw = f.read()
    tokens, scores, types = [], [], []
    at = 4
    for i in range(count):
        score, length = struct.unpack_from("<fi", raw, at)
        text = raw[at + 8 : at + 8 + length]
        at += 8 + length
        if i < 3:
            text, kind = [(b"<unk>", UNKNOWN), (b"<s>", CONTROL), (b"</s>", CONTROL)][i]
        else:
            kind = BYTE if re.fullmatch(rb"<0x[0-9A-F]{2}>", text) else NORMAL
        tokens.append(text.replace(b" ", "\u2581".encode()))
        scores.append(score)
        types.append(kind)
    if at != len(raw):
        sys.exit(f"{path}: {len(raw) - at} bytes left after {count} tokens: another model's?")
    return tokens, scores, types


def layout(dim, hidden, layers, kv_dim, vocab, seq, head_dim, tied):
    """(GGUF name with {} for the layer or None to skip, rows, columns or 0 for a vector, copies),
    in the file's order."""
    return [
        ("token_embd", vocab, dim, 1),
        ("blk.{}.attn_norm", dim, 0, layers),
        ("blk.{}.attn_q", dim, dim, layers),
        ("blk.{}.attn_k", kv_dim, dim, layers),
        ("blk.{}.attn_v", kv_dim, dim, layers),
        ("blk.{}.attn_output", dim, dim, layers),
        ("blk.{}.ffn_norm", dim, 0, layers),
        ("blk.{}.ffn_gate", hidden, dim, layers),
        ("blk.{}.ffn_down", dim, hidden, layers),
        ("blk.{}.ffn_up", hidden, dim, layers),
        ("output_norm", dim, 0, 1),
        (None, seq, head_dim, 1),  # cosines and sines, head_dim / 2 each
        *([] if tied else [("output", vocab, dim, 1)]),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("checkpoint")
    parser.add_argument("tokenizer")
    parser.add_argument("output")
    args = parser.parse_args()

    with open(args.checkpoint, "rb") as f:
        raw = f.read()
    dim, hidden, layers, heads, kv_heads, vocab, seq = struct.unpack_from("<7i", raw)
    tied, vocab = vocab > 0, abs(vocab)
    if raw[:4] == b"24ka" or dim <= 0 or heads <= 0 or dim % heads:
        sys.exit(f"{args.checkpoint}: not a llama2.c checkpoint of version 0")
    head_dim = dim // heads
    parts, at = [], 28
    for name, rows, cols, copies in layout(
        dim, hidden, layers, kv_heads * head_dim, vocab, seq, head_dim, tied
    ):
        size = 4 * rows * max(cols, 1)
        for i in range(copies):
            if name:
                shape = (cols, rows) if cols else (rows,)
                parts.append((name.format(i) + ".weight", shape, raw[at : at + size]))
            at += size
    if at != len(raw):
        sys.exit(f"{args.checkpoint}: {len(raw)} bytes, but its header asks for {at}")

    tokens, scores, types = read_tokenizer(args.tokenizer, vocab)
    with w.GgufWriter(args.output) as out:
        out.keys(
            {
                "general.architecture": "llama",
                "general.name": "stories",
                "general.file_type": 0,
                "llama.vocab_size": vocab,
                "llama.context_length": seq,
                "llama.embedding_length": dim,
                "llama.block_count": layers,
                "llama.feed_forward_length": hidden,
                "llama.rope.dimension_count": head_dim,
                "llama.rope.freq_base": 10000.0,
                "llama.attention.head_count": heads,
                "llama.attention.head_count_kv": kv_heads,
                "llama.attention.layer_norm_rms_epsilon": 1e-5,
                "tokenizer.ggml.model": "llama",
                "tokenizer.ggml.tokens": tokens,
                "tokenizer.ggml.scores": scores,
                "tokenizer.ggml.token_type": w.I32(types),
                "tokenizer.ggml.bos_token_id": 1,
                "tokenizer.ggml.eos_token_id": 2,
                "tokenizer.ggml.unknown_token_id": 0,
                "tokenizer.ggml.add_bos_token": True,
                "tokenizer.ggml.add_eos_token": False,
            }
        )
        for name, shape, data in parts:
            out.tensor(name, shape, w.F32, len(data))
        for _, _, data in parts:
            out.data(data)


if __name__ == "__main__":
    main()
