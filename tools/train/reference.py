"""A slow, plain float32 forward pass over the tensors of the GGUF file itself. Needs numpy only.

Nothing here is shared with the training code, so it checks both the export and other engines.
"""

import numpy as np

import gguf_file


def rms_norm(x, gain, eps):
    return x / np.sqrt(np.mean(np.square(x), axis=-1, keepdims=True) + eps) * gain


def ternary_linear(x, tensor):
    """x [tokens, in] quantised per token to int8, times trits [out, in]: exact integer sums."""
    trits, scale = tensor
    inverse = np.float32(127) / np.maximum(np.abs(x).max(axis=-1, keepdims=True), np.float32(1e-5))
    levels = np.clip(np.rint(x * inverse), -128, 127)  # rint rounds half to even
    sums = levels @ trits.T.astype(np.float32)  # integers below 2^24: exact in float32
    return sums / inverse * scale


def rotate(x, positions, base):
    """x [tokens, heads, head_dim]: element i turns with element i + head_dim/2."""
    half = x.shape[-1] // 2
    angle = positions[:, None] * base ** (-np.arange(half) * 2.0 / x.shape[-1])
    cos, sin = (f(angle)[:, None].astype(np.float32) for f in (np.cos, np.sin))
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


class Reference:
    """A model of architecture bitnet-b1.58 with its past keys and values."""

    def __init__(self, path):
        self.metadata, self.tensors = gguf_file.read(path)
        prefix = self.metadata["general.architecture"] + "."

        def key(name):
            return self.metadata[prefix + name]

        self.layers, self.eps = key("block_count"), key("attention.layer_norm_rms_epsilon")
        self.heads, self.kv_heads = key("attention.head_count"), key("attention.head_count_kv")
        self.head_dim, self.base = key("rope.dimension_count"), key("rope.freq_base")
        self.context = key("context_length")
        self.reset()

    def reset(self):
        empty = np.zeros((0, self.kv_heads, self.head_dim), dtype=np.float32)
        self.past = [(empty, empty)] * self.layers

    def attention(self, layer, q, k, v):
        """q, k, v [tokens, heads or kv heads, head_dim], rotated; appends k and v to the past."""
        keys, values = (np.concatenate(p) for p in zip(self.past[layer], (k, v)))
        self.past[layer] = (keys, values)
        first = len(keys) - len(q)
        future = np.arange(len(keys))[None] > first + np.arange(len(q))[:, None]
        out = np.empty_like(q)
        for head in range(self.heads):
            kv = head * self.kv_heads // self.heads
            scores = q[:, head] @ keys[:, kv].T / np.sqrt(np.float32(self.head_dim))
            scores[future] = -np.inf
            weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
            out[:, head] = weights / weights.sum(axis=-1, keepdims=True) @ values[:, kv]
        return out.reshape(len(q), -1)

    def logits(self, tokens):
        """Logits [tokens, vocab], float32, of tokens that follow those of the calls before."""
        table = self.tensors["token_embd.weight"]
        positions = len(self.past[0][0]) + np.arange(len(tokens))
        x = table[np.asarray(tokens)]
        for layer in range(self.layers):
            def w(name):
                return self.tensors[f"blk.{layer}.{name}.weight"]

            n = rms_norm(x, w("attn_norm"), self.eps)
            q, k, v = (ternary_linear(n, w("attn_" + name)).reshape(len(x), -1, self.head_dim)
                       for name in "qkv")
            q, k = (rotate(t, positions, self.base) for t in (q, k))
            mixed = rms_norm(self.attention(layer, q, k, v), w("attn_sub_norm"), self.eps)
            x = x + ternary_linear(mixed, w("attn_output"))
            n = rms_norm(x, w("ffn_norm"), self.eps)
            hidden = np.square(np.maximum(ternary_linear(n, w("ffn_gate")), 0))
            hidden = rms_norm(hidden * ternary_linear(n, w("ffn_up")), w("ffn_sub_norm"), self.eps)
            x = x + ternary_linear(hidden, w("ffn_down"))
        return rms_norm(x, self.tensors["output_norm.weight"], self.eps) @ table.T
