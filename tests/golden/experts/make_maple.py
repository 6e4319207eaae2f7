#!/usr/bin/env python3
"""Makes the golden folder of a Maple model as DeepGrove publishes them for MLX: maple-mlx/.

    python3 -m venv v && v/bin/pip install -r ../models/requirements.txt
    v/bin/python make_maple.py

Ternary matrices are codes of two bits with a scale for each row (row_alpha), experts of a layer stacked;
embedding and head are affine groups of 64 in four bits. Names, layout and config.json as DeepGrove's
converter (mlx_lm/ternary.py of its mlx-lm) writes them, in so far as public engines that read its folders
say so; its published files were not at hand. The logits are those of the plain functions in
make_experts.py for exactly these weights, which all are bfloat16, without any rounding of activations. What another engine
makes of the folder: the plain functions of the package hipengine 0.8.3 (kernels/cpu_reference/maple.py), with their rounding to
bfloat16 taken out, give these logits to 4e-7; its loader's list of names, types and shapes is the one here.
"""

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "hf")]
import make_experts as base  # noqa: E402
import make_hf  # noqa: E402
import vocabulary  # noqa: E402
from gguf_writer import F16, F32  # noqa: E402

GROUP = 64  # of embedding and head
NAMES = make_hf.NORM | make_hf.LINEAR | {"ffn_gate_inp": "mlp.gate"}
NAMES |= {f"ffn_{x}_exps": f"mlp.switch_mlp.{x}_proj" for x in ("gate", "up", "down")}
GLOBAL_NAMES = {"token_embd": "model.word_embeddings", "output": "lm_head", "output_norm": "model.norm"}


def bfloat(values):
    """The bfloat16 of no larger magnitude."""
    return (np.ascontiguousarray(values, np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)


def pack(codes, bits):
    each = 32 // bits
    words = codes.astype(np.uint32).reshape(*codes.shape[:-1], -1, each) << (np.arange(each, dtype=np.uint32) * bits)
    return np.bitwise_or.reduce(words, axis=-1)


class Maple(base.Model):
    def __init__(self):
        self.parts = {}
        super().__init__("maple-mlx", "maple", d=64, ffn=64)

    def name_of(self, name):
        parts = name.split(".")
        return f"model.layers.{parts[1]}.{NAMES[parts[2]]}" if parts[0] == "blk" else GLOBAL_NAMES[parts[0]]

    def keep(self, name, values, **parts):
        self.values[name] = values
        self.parts |= {f"{self.name_of(name)}.{part}": array for part, array in parts.items()}

    def ternary(self, name, shape):
        trits = self.rng.choice([-1, 0, 1], shape, p=[0.3, 0.4, 0.3])
        alpha = bfloat(self.rng.uniform(0.9, 2.4, shape[:-1]) / (0.6 * shape[-1]) ** 0.5)
        self.keep(name, trits * alpha[..., None], weight=pack(trits + 1, 2), row_alpha=make_hf.bf16(alpha))

    def affine(self, name, rows, cols, std):
        """Steps of few enough bits that (code - 8) * step is a bfloat16."""
        codes = np.clip(np.round(self.rng.standard_normal((rows, cols)) * 3 + 8), 0, 15)
        steps = (1 + self.rng.integers(0, 4, (rows, cols // GROUP)) / 4).astype(np.float32) * std / 4
        values = (codes - 8) * np.repeat(steps, GROUP, 1)
        self.keep(name, values.astype(np.float32), weight=pack(codes, 4), scales=make_hf.bf16(steps), biases=make_hf.bf16(-8 * steps))

    def matrix(self, name, rows, cols, std=None, type_id=F16):
        if name in ("token_embd.weight", "output.weight"):
            self.affine(name, rows, cols, 1.0 if name == "token_embd.weight" else 0.25)
        elif type_id == F32:  # the router
            values = bfloat(self.rng.standard_normal((rows, cols)) * 1.5 / cols**0.5)
            self.keep(name, values, weight=make_hf.bf16(values))
        else:
            self.ternary(name, (rows, cols))

    def norm(self, name, n):
        values = bfloat(self.rng.uniform(0.5, 1.5, n))
        self.keep(name, values, weight=make_hf.bf16(values))

    def experts(self, name, rows, cols):
        self.ternary(name, (base.EXPERTS, rows, cols))

    def config(self):
        affine = {"group_size": GROUP, "bits": 4}
        return {
            "architectures": ["MapleForCausalLM"],
            "model_type": "maple",
            "vocab_size": base.VOCAB,
            "hidden_size": self.d,
            "intermediate_size": 4 * self.d,
            "moe_intermediate_size": self.ffn,
            "num_hidden_layers": self.layers,
            "num_experts": base.EXPERTS,
            "num_experts_per_tok": base.USED,
            "num_shared_experts": 0,
            "first_k_dense_replace": 0,
            "norm_topk_prob": True,
            "num_attention_heads": base.HEADS,
            "num_key_value_heads": base.KV,
            "head_dim": base.DIM,
            "hidden_act": "silu",
            "layer_types": ["sliding_attention" if self.has_window(i) else "full_attention" for i in range(self.layers)],
            "max_position_embeddings": 512,
            "nope_on_global_attention": True,
            "partial_rotary_factor": self.rotated / base.DIM,
            "rms_norm_eps": base.EPS,
            "rope_theta": 10000,
            "router_dtype": "fp32",
            "sliding_window": self.window,
            "tie_word_embeddings": False,
            "use_qk_norm": True,
            "quantization": {"group_size": 128, "bits": 2, "mode": "affine", "lm_head": affine, "model.word_embeddings": affine},
        }

    def write(self):
        folder = HERE / self.name
        folder.mkdir(exist_ok=True)
        make_hf.save(folder / "model.safetensors", self.parts)
        (folder / "config.json").write_text(json.dumps(self.config(), indent=1) + "\n")
        for file in ("tokenizer.json", "tokenizer_config.json"):
            (folder / file).unlink(missing_ok=True)
            (folder / file).symlink_to(f"../../hf/llama-bf16/{file}")


def main():
    model = Maple()
    model.write()
    logits = model.logits(vocabulary.encode(vocabulary.TEXT) * 2).astype("<f4")
    assert model.bounded > 7, model.bounded
    logits.tofile(HERE / f"{model.name}.f32")
    print(f"std {logits.std():.2f}, largest activation {model.bounded:.1f}")


if __name__ == "__main__":
    main()
