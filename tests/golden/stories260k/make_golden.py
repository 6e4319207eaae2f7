#!/usr/bin/env python3
"""Makes golden.json: the greedy continuation of "Once upon a time" by stories260K, from its
llama2.c checkpoint itself.

    python3 make_golden.py stories260K.bin stories260K_tok512.bin

A forward pass in numpy (float64), written from the checkpoint's conventions: rotation of
neighbouring values as complex numbers by the tables that the checkpoint carries. It shares nothing
with the GGUF converter nor with the engine. Also prompt.f32: the logits of the prompt's tokens
(float32, [tokens, 512], little-endian).
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
PROMPT = "Once upon a time"
COUNT = 120


class Checkpoint:
    def __init__(self, path):
        raw = Path(path).read_bytes()
        self.dim, hidden, self.layers, self.heads, self.kv_heads, vocab, seq = struct.unpack_from(
            "<7i", raw
        )
        assert vocab > 0, "tied"
        self.at, self.data = 0, np.frombuffer(raw, "<f4", offset=28).astype(np.float64)
        d, n, self.hd = self.dim, self.layers, self.dim // self.heads
        kv = self.kv_heads * self.hd
        self.embedding = self.take(vocab, d)
        self.norm1, self.wq, self.wk, self.wv = (
            self.take(n, d),
            self.take(n, d, d),
            self.take(n, kv, d),
            self.take(n, kv, d),
        )
        self.wo, self.norm2 = self.take(n, d, d), self.take(n, d)
        self.w1, self.w2, self.w3 = (
            self.take(n, hidden, d),
            self.take(n, d, hidden),
            self.take(n, hidden, d),
        )
        self.norm3 = self.take(d)
        self.turn = self.take(seq, self.hd // 2) + 1j * self.take(seq, self.hd // 2)
        assert self.at == self.data.size

    def take(self, *shape):
        start, self.at = self.at, self.at + int(np.prod(shape))
        return self.data[start : self.at].reshape(shape)

    def logits(self, tokens):
        """All positions: [tokens, vocabulary]."""
        n, group = len(tokens), self.heads // self.kv_heads
        x = self.embedding[tokens]
        for i in range(self.layers):
            a = rms(x, self.norm1[i])
            q = self.rotate((a @ self.wq[i].T).reshape(n, self.heads, self.hd))
            k = self.rotate((a @ self.wk[i].T).reshape(n, self.kv_heads, self.hd)).repeat(group, 1)
            v = (a @ self.wv[i].T).reshape(n, self.kv_heads, self.hd).repeat(group, 1)
            scores = np.einsum("qhd,khd->hqk", q, k) / self.hd**0.5 + np.triu(
                np.full((n, n), -np.inf), 1
            )
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            weights /= weights.sum(-1, keepdims=True)
            x = x + np.einsum("hqk,khd->qhd", weights, v).reshape(n, -1) @ self.wo[i].T
            a = rms(x, self.norm2[i])
            gate = a @ self.w1[i].T
            x = x + (gate / (1 + np.exp(-gate)) * (a @ self.w3[i].T)) @ self.w2[i].T
        return rms(x, self.norm3) @ self.embedding.T

    def rotate(self, x):
        pairs = (x[..., 0::2] + 1j * x[..., 1::2]) * self.turn[: len(x), None]
        return np.stack([pairs.real, pairs.imag], -1).reshape(x.shape)


def rms(x, weight):
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + 1e-5) * weight


def read_tokens(path, count=512):
    raw, at, tokens, scores = Path(path).read_bytes(), 4, [], []
    for _ in range(count):
        score, length = struct.unpack_from("<fi", raw, at)
        text = raw[at + 8 : at + 8 + length]
        tokens.append(bytes([int(text[3:5], 16)]) if text[:3] == b"<0x" else text)
        scores.append(score)
        at += 8 + length
    return tokens, scores


def encode(text, tokens, scores):
    """SentencePiece's merging: the best-scored pair first. Enough for text whose characters are all
    tokens."""
    ids = [tokens.index(c.encode()) for c in " " + text]
    while True:
        pairs = [
            (scores[tokens.index(tokens[a] + tokens[b])], -i)
            for i, (a, b) in enumerate(zip(ids, ids[1:]))
            if tokens[a] + tokens[b] in tokens
        ]
        if not pairs:
            return [1, *ids]
        i = -max(pairs)[1]
        ids[i : i + 2] = [tokens.index(tokens[ids[i]] + tokens[ids[i + 1]])]


def main():
    model = Checkpoint(sys.argv[1])
    tokens, scores = read_tokens(sys.argv[2])
    prompt = encode(PROMPT, tokens, scores)
    model.logits(prompt).astype("<f4").tofile(HERE / "prompt.f32")
    ids, margin = list(prompt), np.inf
    for _ in range(COUNT):
        best = np.sort(model.logits(ids)[-1])[::-1]
        margin = min(margin, best[0] - best[1])
        ids.append(int(model.logits(ids)[-1].argmax()))
    text = b"".join(tokens[i] for i in ids[1:]).decode().lstrip(" ")
    golden = {
        "prompt": PROMPT,
        "prompt_tokens": prompt,
        "continuation": ids[len(prompt) :],
        "text": text,
        "smallest_margin": round(float(margin), 4),
    }
    (HERE / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    print(text, "\nsmallest margin between the best two logits:", golden["smallest_margin"])


if __name__ == "__main__":
    main()
