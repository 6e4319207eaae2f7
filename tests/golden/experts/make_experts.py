#!/usr/bin/env python3
"""Makes the golden models of mixtures of experts.

    python3 -m venv v && v/bin/pip install -r ../models/requirements.txt
    v/bin/python make_experts.py

qwen3moe: logits of transformers' Qwen3MoeForCausalLM in float32. maple has no class in a published
package; its logits come from the plain float64 functions below, written from the description of its
published code: norms of each query and key head, then RoPE on the first half of a head in layers
with a window and none in the others, experts by softmax over all of them and renormalised,
silu(min(gate, 7)) * clamp(up, -7, 7). The same functions compute the qwen3moe model, and the script
checks that they agree with transformers.

The folder qwen3moe/ is the same model as transformers 4 saves it, with a matrix for each expert. With
transformers 5 (5.23.0) the script writes qwen3moe-fused/ instead, the same model as that keeps it when
asked for its own layout (save_original_format=False): gates and ups of all experts in one tensor.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "models"), str(HERE.parents[2] / "tools")]
import gguf_writer as w  # noqa: E402
import vocabulary  # noqa: E402
from blocks import store  # noqa: E402

VOCAB = len(vocabulary.tokens())
D, FFN, EXPERTS, USED, HEADS, KV, DIM, LAYERS = 32, 16, 8, 3, 4, 2, 16, 2
EPS = 1e-6
Q2_0 = 42  # blocks of 64 with a scale each, which the gguf package does not know


class Model:
    def __init__(self, name, arch, d=D, ffn=FFN, layers=LAYERS, expert_type=w.F16):
        self.name, self.arch, self.d, self.ffn, self.layers = name, arch, d, ffn, layers
        self.expert_type = expert_type
        self.maple = arch == "maple"
        self.window = 6 if self.maple else 0
        self.rotated = DIM // 2 if self.maple else DIM
        self.rng = np.random.default_rng(list(name.encode()))
        self.file, self.values = [], {}
        self.draw()

    def add(self, name, values, type_id):
        raw, read = (store_q2_0 if type_id == Q2_0 else store)(values.astype(np.float32), type_id)
        self.file.append((name, values.shape[::-1], type_id, raw))
        self.values[name] = read.reshape(values.shape)

    def matrix(self, name, rows, cols, std=None, type_id=w.F16):
        self.add(name, self.rng.standard_normal((rows, cols)) * (std or 1.5 / cols**0.5), type_id)

    def norm(self, name, n):
        self.add(name, self.rng.uniform(0.5, 1.5, n), w.F32)

    def experts(self, name, rows, cols):
        shape = (EXPERTS, rows, cols)
        if self.expert_type == Q2_0:  # a scale for each row, as maple has them
            trits = self.rng.choice([-1, 0, 1], shape, p=[0.3, 0.4, 0.3])
            scales = self.rng.uniform(0.7, 2.0, (EXPERTS, rows, 1)) / (0.6 * cols) ** 0.5
            values = trits * scales.astype(np.float16)
        else:
            values = self.rng.standard_normal(shape) * 2 / cols**0.5
        self.add(name, values, self.expert_type)

    def draw(self):
        self.matrix("token_embd.weight", VOCAB, self.d, 1.0)
        self.matrix("output.weight", VOCAB, self.d, 2 / self.d**0.5)
        self.norm("output_norm.weight", self.d)
        for i in range(self.layers):
            b = f"blk.{i}."
            self.norm(b + "attn_norm.weight", self.d)
            self.norm(b + "ffn_norm.weight", self.d)
            self.norm(b + "attn_q_norm.weight", DIM)
            self.norm(b + "attn_k_norm.weight", DIM)
            self.matrix(b + "attn_q.weight", HEADS * DIM, self.d)
            self.matrix(b + "attn_k.weight", KV * DIM, self.d)
            self.matrix(b + "attn_v.weight", KV * DIM, self.d)
            self.matrix(b + "attn_output.weight", self.d, HEADS * DIM)
            self.matrix(b + "ffn_gate_inp.weight", EXPERTS, self.d, type_id=w.F32)
            # Large enough that some activations reach the bound.
            self.experts(b + "ffn_gate_exps.weight", self.ffn, self.d)
            self.experts(b + "ffn_up_exps.weight", self.ffn, self.d)
            self.experts(b + "ffn_down_exps.weight", self.d, self.ffn)

    def has_window(self, layer):
        return self.maple and layer % 2 == 0

    def keys(self):
        a = self.arch
        keys = {
            "general.architecture": a,
            "general.name": self.name,
            f"{a}.context_length": 512,
            f"{a}.embedding_length": self.d,
            f"{a}.block_count": self.layers,
            f"{a}.feed_forward_length": 4 * self.d,  # of no layer
            f"{a}.attention.head_count": HEADS,
            f"{a}.attention.head_count_kv": KV,
            f"{a}.attention.key_length": DIM,
            f"{a}.attention.value_length": DIM,
            f"{a}.attention.layer_norm_rms_epsilon": EPS,
            f"{a}.rope.freq_base": 10000.0,
            f"{a}.rope.dimension_count": self.rotated,
            f"{a}.expert_count": EXPERTS,
            f"{a}.expert_used_count": USED,
            f"{a}.expert_feed_forward_length": self.ffn,
        }
        if self.maple:
            keys |= {
                f"{a}.attention.sliding_window": self.window,
                f"{a}.attention.sliding_window_pattern": [
                    self.has_window(i) for i in range(self.layers)
                ],
                f"{a}.swiglu_clamp_exp": [7.0] * self.layers,
            }
        return keys | vocabulary.gguf_keys("qwen2")

    def write(self):
        with w.GgufWriter(HERE / f"{self.name}.gguf") as out:
            out.keys(self.keys())
            for name, shape, type_id, raw in self.file:
                out.tensor(name, shape, type_id, len(raw))
            for *_, raw in self.file:
                out.data(raw)

    # The float64 reference.

    def __getitem__(self, name):
        return self.values[name + ".weight"].astype(np.float64)

    def rope(self, x):
        """x: tokens x heads x DIM; pairs (i, i + half) of the first `rotated` values."""
        half = self.rotated // 2
        angle = np.arange(len(x))[:, None] * 10000.0 ** (-np.arange(half) / half)
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        a, b = x[..., :half], x[..., half : 2 * half]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin, x[..., 2 * half :]], -1)

    def attention(self, b, layer, n):
        q = rms((n @ self[b + "attn_q"].T).reshape(-1, HEADS, DIM), self[b + "attn_q_norm"])
        k = rms((n @ self[b + "attn_k"].T).reshape(-1, KV, DIM), self[b + "attn_k_norm"])
        v = (n @ self[b + "attn_v"].T).reshape(-1, KV, DIM)
        window = self.has_window(layer)
        if window or not self.maple:
            q, k = self.rope(q), self.rope(k)
        out = np.zeros_like(q)
        for t in range(len(n)):
            first = max(0, t + 1 - self.window) if window else 0
            for h in range(HEADS):
                kv = h // (HEADS // KV)
                weights = softmax(k[first : t + 1, kv] @ q[t, h] / DIM**0.5)
                out[t, h] = weights @ v[first : t + 1, kv]
        return out.reshape(len(n), -1) @ self[b + "attn_output"].T

    def mixture(self, b, n):
        out = np.zeros_like(n)
        gate, up, down = (self[b + f"ffn_{x}_exps"] for x in ("gate", "up", "down"))
        for t, x in enumerate(n):
            shares = softmax(self[b + "ffn_gate_inp"] @ x)
            chosen = np.argsort(-shares, kind="stable")[:USED]
            for e in chosen:
                g, u = self.round(x, gate) @ gate[e].T, self.round(x, up) @ up[e].T
                if self.maple:
                    self.bounded = max(self.bounded, g.max(), abs(u).max())
                    g, u = np.minimum(g, 7), np.clip(u, -7, 7)
                y = self.round(g / (1 + np.exp(-g)) * u, down) @ down[e].T
                out[t] += shares[e] / shares[chosen].sum() * y
        return out

    def round(self, x, matrix):
        """Inputs of ternary matrices, as Tern rounds them: to int8 by their largest."""
        if self.expert_type != Q2_0:
            return x
        scale = 127 / max(1e-5, abs(x).max())
        return np.clip(np.round(x * scale), -128, 127) / scale

    def logits(self, tokens):
        self.bounded = 0
        x = self["token_embd"][tokens]
        for i in range(self.layers):
            b = f"blk.{i}."
            x = x + self.attention(b, i, rms(x, self[b + "attn_norm"]))
            x = x + self.mixture(b, rms(x, self[b + "ffn_norm"]))
        return rms(x, self["output_norm"]) @ self["output"].T


def store_q2_0(values, _):
    """A half d, then codes c of 64 weights (c - 1) d, four in a byte from the low bits up."""
    blocks = values.reshape(-1, 64)
    scale = abs(blocks).max(-1, keepdims=True).astype(np.float16)
    codes = (np.round(blocks / scale) + 1).astype(np.uint8).reshape(-1, 16, 4)
    packed = (codes << np.array([0, 2, 4, 6], np.uint8)).sum(-1).astype(np.uint8)
    read = (codes.reshape(-1, 64).astype(np.float32) - 1) * scale.astype(np.float32)
    return np.concatenate([scale.view(np.uint8), packed], -1).tobytes(), read.reshape(values.shape)


def rms(x, weight):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + EPS) * weight


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def transformers_logits(model, tokens):
    config = transformers.Qwen3MoeConfig(
        vocab_size=VOCAB, hidden_size=model.d, intermediate_size=4 * model.d,
        moe_intermediate_size=model.ffn, num_hidden_layers=model.layers, num_experts=EXPERTS,
        num_experts_per_tok=USED, norm_topk_prob=True, num_attention_heads=HEADS,
        num_key_value_heads=KV, head_dim=DIM, rms_norm_eps=EPS, rope_theta=10000.0,
        tie_word_embeddings=False, decoder_sparse_step=1, mlp_only_layers=[],
    )  # fmt: skip
    theirs = transformers.Qwen3MoeForCausalLM(config).eval().float()
    state = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    for i in range(model.layers):
        h, b = f"model.layers.{i}.", f"blk.{i}."
        state |= {h + "input_layernorm": b + "attn_norm", h + "mlp.gate": b + "ffn_gate_inp",
                  h + "post_attention_layernorm": b + "ffn_norm"}  # fmt: skip
        for x, y in (("o_proj", "output"), ("q_norm", "q_norm"), ("k_norm", "k_norm")):
            state[h + "self_attn." + x] = b + "attn_" + y
        state |= {f"{h}self_attn.{x}_proj": f"{b}attn_{x}" for x in "qkv"}
    tensors = {k + ".weight": model.values[v + ".weight"] for k, v in state.items()}
    for i in range(model.layers):
        for part in ("gate", "up", "down"):
            for e, values in enumerate(model.values[f"blk.{i}.ffn_{part}_exps.weight"]):
                tensors[f"model.layers.{i}.mlp.experts.{e}.{part}_proj.weight"] = values
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in tensors.items()}, strict=True)
    with torch.inference_mode():
        logits = theirs(torch.tensor([tokens])).logits[0].numpy()
    save_folder(theirs, "qwen3moe")
    return logits


def save_folder(theirs, name, **options):
    """Matrices as halves, but for the routers."""
    for key, value in theirs.named_parameters():
        if not key.endswith(("norm.weight", "mlp.gate.weight")):
            value.data = value.data.half()
    theirs.save_pretrained(HERE / name, **options)
    (HERE / name / "model.safetensors").chmod(0o644)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        link = HERE / name / file
        link.unlink(missing_ok=True)
        link.symlink_to(f"../../hf/llama-bf16/{file}")


def fuse():
    theirs = transformers.Qwen3MoeForCausalLM.from_pretrained(HERE / "qwen3moe", dtype=torch.float32)
    tokens = json.loads((HERE / "manifest.json").read_text())["tokens"]
    with torch.inference_mode():
        logits = theirs.eval()(torch.tensor([tokens])).logits[0].numpy()
    truth = np.fromfile(HERE / "qwen3moe-f16.f32", "<f4").reshape(logits.shape)
    assert abs(logits - truth).max() < 1e-4, abs(logits - truth).max()
    save_folder(theirs, "qwen3moe-fused", save_original_format=False)


def main():
    if int(transformers.__version__.split(".")[0]) >= 5:
        return fuse()
    tokens = vocabulary.encode(vocabulary.TEXT) * 2
    models = [
        Model("qwen3moe-f16", "qwen3moe"),
        Model("maple-f16", "maple"),
        Model("maple-q2_0", "maple", d=64, ffn=64, layers=2, expert_type=Q2_0),
    ]
    for model in models:
        model.write()
        logits = model.logits(tokens).astype("<f4")
        text = f"{model.name:14} std {logits.std():.2f}"
        if model.arch == "qwen3moe":
            truth = transformers_logits(model, tokens)
            difference = np.sqrt(np.mean((logits - truth) ** 2) / np.mean(truth**2))
            assert difference < 1e-5, difference
            text += f", from transformers {difference:.1e}"
            logits = truth.astype("<f4")
        elif model.expert_type == w.F16:
            assert model.bounded > 7, model.bounded
            text += f", largest activation {model.bounded:.1f}"
        logits.tofile(HERE / f"{model.name}.f32")
        print(text)
    (HERE / "manifest.json").write_text(
        json.dumps({"tokens": tokens, "vocabulary": VOCAB}) + "\n"
    )


if __name__ == "__main__":
    main()
