#!/usr/bin/env python3
"""Makes the golden models: tiny random models of every architecture, and the logits that an engine
must compute from them.

    python3 -m venv v && v/bin/pip install -r requirements.txt
    v/bin/python make_models.py [NAME ...]

The truth is `transformers` in float32 on the CPU: the model class of the architecture, its weights
set to exactly the values that the written file stands for (the `gguf` package decodes them).
Ternary models get transformers' own AutoBitLinear layers (int8 activations: per token, half to
even). Made with Python 3.11, torch 2.5.1+cu124, transformers 4.57.1, gguf 0.19.0, numpy 2.2.6 (also
written to the manifest). The files come out byte-identical on every run; the logits to about 1e-6.

No class exists for 1bitLLM's `bitnet` (SiLU instead of relu^2): it is transformers' BitNet with
hidden_act="silu", which is the same graph; `bitnet-25` is `bitnet-b1.58` under its older name.

Written for each model NAME: NAME.gguf, and NAME.f32: float32 logits, [tokens, vocabulary],
row-major, little-endian; for ternary models of architectures that are not trained with rounded
activations also NAME.float.f32, without any rounding; for ternary models also NAME.half_kv.f32: the same with keys and values
rounded to half precision, as engines that keep an F16 cache see them. A rounded int8 activation
turns the last bit of a float into a step of 1/127 of the largest, so what is right for a ternary
model is only known to within such steps: `jitter` in the manifest measures it (relative rms of the
logits when the output of every linear layer is disturbed by 1e-6 of itself; largest of several
draws), as `half_kv` does for the cache.
"""

import json
import os
import platform
import sys
from dataclasses import dataclass, field
from pathlib import Path

# AutoBitLinear's torch.compile would need a compiler and changes nothing.
os.environ["TORCHDYNAMO_DISABLE"] = "1"

import gguf
import numpy as np
import torch
import transformers
from transformers.cache_utils import DynamicCache
from transformers.integrations.bitnet import AutoBitLinear

import vocabulary
from blocks import GGUF_TYPE, TERNARY, store, store_ternary, w

HERE = Path(__file__).parent
VOCAB = len(vocabulary.tokens())
# transformers' names of the linear layers -> GGUF's
LINEAR = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NORM = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.attn_sub_norm": "attn_sub_norm",
    "mlp.ffn_sub_norm": "ffn_sub_norm",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
}


@dataclass
class Spec:
    name: str
    arch: str  # general.architecture
    seed: str  # models of one seed and shape have the same weights
    d: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    linear: int  # tensor type of the linear layers
    embedding: int  # and of the embedding and the head
    tied: bool
    theta: float = 10000.0
    eps: float = 1e-5
    rope_scaling: dict = None  # as in transformers' configuration
    groups: bool = (
        False  # ternary: a scale of its own for every 256 weights, instead of one per matrix
    )
    scale_tensors: bool = False  # ternary: scale 1 in the file and the real one in `.scale` tensors
    odd: dict = field(default_factory=dict)  # GGUF stem -> another tensor type
    logits: str = None  # the model of the same weights whose logits files serve this one too

    @property
    def permuted(self):  # llama files turn q and k so that RoPE pairs neighbours
        return self.arch == "llama"

    @property
    def ternary(self):
        return self.linear in TERNARY

    def type_of(self, stem):
        return self.odd.get(stem, self.linear)


# fmt: off
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
_LLAMA = dict(arch="llama", seed="llama", d=32, ffn=64, layers=2, heads=4, kv_heads=2, head_dim=8,
              tied=False)
_QWEN = dict(arch="qwen3", d=32, ffn=64, layers=2, heads=4, kv_heads=2, head_dim=16, theta=1e6,
             eps=1e-6)
_BITNET = dict(d=128, ffn=320, heads=4, kv_heads=2, head_dim=32, tied=True, theta=500000.0,
               linear=w.I2_S)
_BITNET256 = dict(arch="bitnet-b1.58", seed="bitnet256", d=256, ffn=256, layers=1, heads=4,
                  kv_heads=1, head_dim=64, tied=True, theta=500000.0, embedding=w.Q6_K)
_1BITLLM = dict(arch="bitnet", seed="1bitllm", tied=True, linear=w.I2_S)

SPECS = [
    Spec("llama-f32", **_LLAMA, linear=w.F32, embedding=w.F32),
    Spec("llama-f16", **_LLAMA, linear=w.F16, embedding=w.F16),
    Spec("llama-bf16", **_LLAMA, linear=w.BF16, embedding=w.BF16),
    Spec("llama-q8_0", **_LLAMA, linear=w.Q8_0, embedding=w.Q8_0),
    Spec("llama-q4_0", **_LLAMA, linear=w.Q4_0, embedding=w.Q4_0),
    Spec("llama-llama3-rope", "llama", "llama3", 32, 64, 2, 4, 1, 32, w.F16, w.F16, tied=True,
         theta=500.0, rope_scaling=LLAMA3),
    Spec("llama-linear-rope", "llama", "linear", 32, 48, 2, 3, 3, 16, w.F16, w.F16, tied=False,
         theta=1000042.0, eps=1e-6, rope_scaling={"rope_type": "linear", "factor": 4.0}),
    # As llama.cpp mixes them: K-quants where a row is a multiple of 256, other types elsewhere.
    Spec("llama-k-quants", "llama", "kquants", 256, 64, 1, 4, 2, 16, w.Q4_K, w.Q6_K, tied=False,
         odd={"token_embd": w.Q4_K, "attn_v": w.Q6_K, "attn_output": w.Q8_0, "ffn_down": w.Q4_0}),
    Spec("qwen3-f32", **_QWEN, seed="qwen3", linear=w.F32, embedding=w.F16, tied=False),
    Spec("qwen3-tied-f16", **_QWEN, seed="qwen3-tied", linear=w.F16, embedding=w.F16, tied=True),
    Spec("qwen3-tied-q8_0", **_QWEN, seed="qwen3-tied", linear=w.Q8_0, embedding=w.Q8_0, tied=True),
    # ffn = 320: rows that end within an I2_S block.
    Spec("bitnet-b1.58-i2_s", "bitnet-b1.58", "bitnet", **_BITNET, layers=2, embedding=w.F16),
    Spec("bitnet-25-i2_s", "bitnet-25", "bitnet25", **_BITNET, layers=1, embedding=w.Q8_0),
    Spec("bitnet-b1.58-i2_s-q6_k", **_BITNET256, linear=w.I2_S),
    Spec("bitnet-b1.58-tq2_0-q6_k", **_BITNET256, linear=w.TQ2_0, logits="bitnet-b1.58-i2_s-q6_k"),
    Spec("bitnet-b1.58-tq1_0-q6_k", **_BITNET256, linear=w.TQ1_0, logits="bitnet-b1.58-i2_s-q6_k"),
    # A head size and row lengths that are no powers of two.
    Spec("bitnet-i2_s", **_1BITLLM, d=160, ffn=216, layers=2, heads=8, kv_heads=8, head_dim=20,
         embedding=w.Q8_0),
    Spec("bitnet-scale-tensors", **_1BITLLM, d=96, ffn=120, layers=1, heads=4, kv_heads=2,
         head_dim=24, embedding=w.F16, scale_tensors=True),
    # TriLM and Falcon3-1.58bit: llama with ternary layers, TriLM with several scales in a matrix.
    Spec("llama-tq2_0-groups", "llama", "trilm", 256, 512, 1, 4, 1, 64, w.TQ2_0, w.Q4_0, tied=True,
         groups=True),
]
# fmt: on


def config_of(s):
    common = dict(
        vocab_size=VOCAB,
        hidden_size=s.d,
        intermediate_size=s.ffn,
        num_hidden_layers=s.layers,
        num_attention_heads=s.heads,
        num_key_value_heads=s.kv_heads,
        head_dim=s.head_dim,
        rms_norm_eps=s.eps,
        rope_theta=s.theta,
        tie_word_embeddings=s.tied,
        max_position_embeddings=256,
        rope_scaling=s.rope_scaling,
        attn_implementation="eager",
    )
    if s.arch == "llama":
        return transformers.LlamaConfig(**common)
    if s.arch == "qwen3":
        return transformers.Qwen3Config(**common)
    return transformers.BitNetConfig(**common, hidden_act="silu" if s.arch == "bitnet" else "relu2")


def permute(x, heads):
    """Rows of every head from (first half, second half) to pairs of neighbours, as llama.cpp's
    converter turns q and k."""
    return x.reshape(heads, 2, -1, x.shape[-1]).swapaxes(1, 2).reshape(x.shape)


def unpermute(x, heads):
    return x.reshape(heads, -1, 2, x.shape[-1]).swapaxes(1, 2).reshape(x.shape)


class Maker:
    """Draws the weights of one model, sets them in the transformers model, and collects the tensors
    of the file."""

    def __init__(self, spec):
        self.spec = spec
        self.rng = np.random.default_rng(list(spec.seed.encode()))
        self.model = transformers.AutoModelForCausalLM.from_config(config_of(spec)).eval().float()
        self.file = []  # (name, shape, type, bytes)

    def make(self):
        s = self.spec
        # Untied: rows of length 1 or so; tied: the embedding is also the head, and sqrt(d) terms
        # add up in a logit.
        self.matrix(self.model.model.embed_tokens, "token_embd", s.embedding, std=2 / s.d**0.5)
        if not s.tied:
            self.matrix(self.model.lm_head, "output", s.embedding, std=2 / s.d**0.5)
        self.norm(self.model.model.norm, "output_norm")
        for i, layer in enumerate(self.model.model.layers):
            for path, stem in NORM.items():
                try:
                    self.norm(layer.get_submodule(path), f"blk.{i}.{stem}")
                except AttributeError:
                    pass  # this architecture has no such norm
            for path, stem in LINEAR.items():
                if s.type_of(stem) in TERNARY:
                    self.ternary(layer, path, f"blk.{i}.{stem}")
                else:
                    self.matrix(
                        layer.get_submodule(path),
                        f"blk.{i}.{stem}",
                        s.type_of(stem),
                        std=1.5 / layer.get_submodule(path).in_features ** 0.5,
                    )
        if s.rope_scaling and s.rope_scaling["rope_type"] == "llama3":
            self.rope_factors()
        return self.model

    def heads_to_permute(self, name):
        if self.spec.permuted and name.endswith(("attn_q", "attn_k")):
            return self.spec.heads if name.endswith("attn_q") else self.spec.kv_heads
        return 0

    def add(self, name, array, type_id, raw):
        self.file.append((name, array.shape[::-1], type_id, raw))

    def set(self, module, values, name="weight"):
        with torch.no_grad():
            getattr(module, name).copy_(torch.from_numpy(np.ascontiguousarray(values, np.float32)))

    def norm(self, module, name):
        values = self.rng.uniform(0.5, 1.5, module.weight.shape[0]).astype(np.float32)
        self.set(module, values)
        self.add(name + ".weight", values, w.F32, values.tobytes())

    def matrix(self, module, name, type_id, std):
        type_id = self.spec.odd.get(name, type_id)  # for embedding and head
        values = (self.rng.standard_normal(module.weight.shape) * std).astype(np.float32)
        heads = self.heads_to_permute(name)
        stored = permute(values, heads) if heads else values
        raw, read = store(stored, type_id)
        self.set(module, unpermute(read, heads) if heads else read)
        self.add(name + ".weight", stored, type_id, raw)

    def ternary(self, layer, path, name):
        s = self.spec
        parent, leaf = layer.get_submodule(path.split(".")[0]), path.split(".")[1]
        rows, cols = getattr(parent, leaf).weight.shape
        trits = self.rng.choice(np.array([-1, 0, 1], np.int8), (rows, cols), p=[0.3, 0.4, 0.3])
        typical = 1 / (0.6 * cols) ** 0.5  # outputs of about the size of the inputs
        shape = (rows, cols // 256) if s.groups else ()
        scales = np.float32(self.rng.uniform(0.7, 2.0, shape) * typical)
        if s.linear != w.I2_S or s.seed == "bitnet256":
            scales = scales.astype(np.float16).astype(np.float32)  # what TQ1_0 and TQ2_0 can hold
        heads = self.heads_to_permute(name)
        raw = store_ternary(
            trits, np.float32(1) if s.scale_tensors else scales, s.type_of(name.split(".")[-1])
        )
        self.add(name + ".weight", trits, s.linear, raw)
        if s.scale_tensors:
            self.add(name + ".scale", np.ones(1), w.F32, scales.tobytes())
        linear = AutoBitLinear(cols, rows, bias=False, dtype=torch.float32)
        if s.groups:  # weights with their scales in them; AutoBitLinear's own scale stays 1
            trits = trits * np.repeat(scales, 256, 1)
        else:
            linear.weight_scale.fill_(float(scales))
        self.set(linear, unpermute(trits, heads) if heads else trits)
        setattr(parent, leaf, linear)

    def rope_factors(self):
        """llama.cpp's converter stores Llama 3's rule as divisors of the frequencies: how far
        transformers lowers each."""
        plain = self.spec.theta ** -(np.arange(0, self.spec.head_dim, 2) / self.spec.head_dim)
        factors = np.float32(plain / self.model.model.rotary_emb.inv_freq.numpy())
        assert (
            factors[0] == 1 and factors[-1] == 8 and np.any((factors > 1.01) & (factors < 7.9))
        ), factors
        self.add("rope_freqs.weight", factors, w.F32, factors.tobytes())


def metadata(s):
    file_type = {
        w.F32: 0,
        w.F16: 1,
        w.Q4_0: 2,
        w.Q8_0: 7,
        w.Q4_K: 15,
        w.BF16: 32,
        w.TQ1_0: 36,
        w.TQ2_0: 37,
        w.I2_S: 40,
    }
    keys = {
        "general.architecture": s.arch,
        "general.name": s.name,
        "general.file_type": file_type[s.linear],
        f"{s.arch}.vocab_size": VOCAB,
        f"{s.arch}.context_length": 256,
        f"{s.arch}.embedding_length": s.d,
        f"{s.arch}.block_count": s.layers,
        f"{s.arch}.feed_forward_length": s.ffn,
        f"{s.arch}.attention.head_count": s.heads,
        f"{s.arch}.attention.head_count_kv": s.kv_heads,
        f"{s.arch}.attention.layer_norm_rms_epsilon": s.eps,
        f"{s.arch}.rope.freq_base": s.theta,
        f"{s.arch}.rope.dimension_count": s.head_dim,
    }
    if s.heads * s.head_dim != s.d:
        keys |= {
            f"{s.arch}.attention.key_length": s.head_dim,
            f"{s.arch}.attention.value_length": s.head_dim,
        }
    if s.rope_scaling and s.rope_scaling["rope_type"] == "linear":
        keys |= {
            f"{s.arch}.rope.scaling.type": "linear",
            f"{s.arch}.rope.scaling.factor": s.rope_scaling["factor"],
        }
    return keys | vocabulary.gguf_keys("qwen2" if s.arch == "qwen3" else "llama-bpe")


def write_gguf(path, keys, tensors):
    with w.GgufWriter(path) as out:
        out.keys(keys)
        for name, shape, type_id, raw in tensors:
            out.tensor(name, shape, type_id, len(raw))
        for *_, raw in tensors:
            out.data(raw)


def check_with_gguf_package(path, tensors):
    """The gguf package must find the same tensors in the file (it knows no I2_S)."""
    if any(type_id not in GGUF_TYPE for _, _, type_id, _ in tensors):
        return
    found = {t.name: t for t in gguf.GGUFReader(path).tensors}
    for name, shape, type_id, raw in tensors:
        t = found.pop(name)
        assert (
            tuple(t.shape) == tuple(shape) and t.tensor_type == type_id and t.data.tobytes() == raw
        ), name
    assert not found


class HalfCache(DynamicCache):
    """Keys and values rounded to half precision."""

    def update(self, key, value, *args, **kwargs):
        return super().update(key.half().float(), value.half().float(), *args, **kwargs)


def logits_of(model, tokens, cache=None):
    with torch.inference_mode():
        ids = torch.tensor([tokens])
        return (
            model(ids, past_key_values=cache, use_cache=cache is not None)
            .logits[0]
            .numpy()
            .astype("<f4")
        )


def relative_rms(a, b):
    return float(
        np.sqrt(np.mean((a.astype(np.float64) - b) ** 2) / np.mean(b.astype(np.float64) ** 2))
    )


def without_rounding(model):
    """Ternary layers whose inputs stay floats: what is right for models that were not trained with
    rounded activations."""

    def forward(self, x):
        return torch.nn.functional.linear(x, self.weight) * self.weight_scale

    for module in model.modules():
        if isinstance(module, AutoBitLinear):
            module.forward = forward.__get__(module)
    return model


def jitter(model, tokens, truth, draws=8):
    """Largest relative rms of the logits when every linear layer's output is disturbed by 1e-6 of
    itself."""
    generator = torch.Generator().manual_seed(1)

    def disturb(module, inputs, output):
        return output * (1 + 1e-6 * torch.randn(output.shape, generator=generator))

    linears = (torch.nn.Linear,)
    hooks = [m.register_forward_hook(disturb) for m in model.modules() if isinstance(m, linears)]
    worst = max(relative_rms(logits_of(model, tokens), truth) for _ in range(draws))
    for h in hooks:
        h.remove()
    return worst


def make(spec, tokens):
    maker = Maker(spec)
    model = maker.make()
    path = HERE / f"{spec.name}.gguf"
    write_gguf(path, metadata(spec), maker.file)
    check_with_gguf_package(path, maker.file)
    logits = logits_of(model, tokens)
    half = logits_of(model, tokens, HalfCache())
    stem = spec.logits or spec.name
    entry = {
        "name": spec.name,
        "file": path.name,
        "architecture": spec.arch,
        "class": "ternary" if spec.ternary else "dense",
        "logits": f"{stem}.f32",
        "half_kv": relative_rms(half, logits),
        "jitter": jitter(model, tokens, logits),
        "std": float(logits.std()),
        "source": "transformers " + type(model).__name__,
    }
    if spec.ternary:
        entry["half_kv_logits"] = f"{stem}.half_kv.f32"
    if spec.logits:
        assert (
            relative_rms(logits, np.fromfile(HERE / entry["logits"], "<f4").reshape(logits.shape))
            < 1e-6
        )
    else:
        logits.tofile(HERE / entry["logits"])
        if spec.ternary:
            half.tofile(HERE / entry["half_kv_logits"])
        if spec.ternary and spec.arch == "llama":
            entry["float_logits"] = f"{stem}.float.f32"
            logits_of(without_rounding(model), tokens).tofile(HERE / entry["float_logits"])
    print(
        f"{spec.name:26} {path.stat().st_size:7} bytes, logits std {entry['std']:.2f}, "
        f"half kv {entry['half_kv']:.1e}, jitter {entry['jitter']:.1e}"
    )
    return entry


def main():
    torch.set_num_threads(1)
    tokens = vocabulary.encode(vocabulary.TEXT)
    wanted = sys.argv[1:] or [s.name for s in SPECS]
    manifest = HERE / "manifest.json"
    old = json.loads(manifest.read_text())["models"] if manifest.exists() else []
    entries = {e["name"]: e for e in old} | {
        s.name: make(s, tokens) for s in SPECS if s.name in wanted
    }
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "gguf": "0.19.0",
        "numpy": np.__version__,
    }
    manifest.write_text(
        json.dumps(
            {
                "versions": versions,
                "text": vocabulary.TEXT,
                "tokens": tokens,
                "vocabulary": VOCAB,
                "models": [entries[s.name] for s in SPECS if s.name in entries],
            },
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
