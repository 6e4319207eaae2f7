#!/usr/bin/env python3
"""Makes the golden models of hybrid decoders: Qwen3.5's gated delta-net beside gated attention
(`qwen35`), plain, ternary, and with weights rotated as in Bonsai 2 (`prism.hadamard.*`).

    python3 -m venv v && v/bin/pip install -r requirements.txt
    v/bin/python make_hybrid.py

The truth is transformers' Qwen3_5ForCausalLM (Qwen3ForCausalLM for the rotated qwen3) in float32,
with exactly the weights that the files stand for. NAME.f32 holds the logits of the last tokens of
one pass over all, which sums in chunks of 64 (torch_chunk_gated_delta_rule); the script checks that
passes of one token each, which go through another function (torch_recurrent_gated_delta_rule), agree.

The GGUF files have the tensors, names and orders that llama.cpp's converter writes
(conversion/qwen.py, _LinearAttentionVReorderBase): norms hold w + 1, ssm_a holds -exp(A_log), heads
of values are tiled (head h reads key head h % key heads) where transformers groups them (h divided
by values a key), except in the columns of a rotated ssm_out. The folder qwen35-f16/ has them as
transformers saves them (the one committed: 5.23.0, whose logits differ from those of 5.2.0 by 3e-5 at most).

Rotated files hold u = H (s w) for each row w: the script draws u and computes w = s (H u), so that
the files stay small halves and the truth knows no rotation.
"""

import json
import os
import sys
from pathlib import Path

os.environ["TORCHDYNAMO_DISABLE"] = "1"

import numpy as np
import torch
import transformers
from transformers.integrations.bitnet import AutoBitLinear

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "models"), str(HERE.parents[2] / "tools")]
import gguf_writer as w  # noqa: E402
import vocabulary  # noqa: E402
from blocks import pack_i2_s  # noqa: E402

VOCAB = len(vocabulary.tokens())
K_HEADS, V_HEADS, STATE, CONV = 2, 6, 8, 4
KEYS, VALUES = K_HEADS * STATE, V_HEADS * STATE
BLOCK = 16  # of the rotation
KEPT = 20  # positions whose logits are kept
WIDTHS = {"d": 32, "ffn": 48, "heads": 4, "kv_heads": 2, "head_dim": 16, "layers": 5}
TERNARY_WIDTHS = WIDTHS | {"d": 64, "ffn": 96, "layers": 4}

LINEAR = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "linear_attn.in_proj_qkv": "attn_qkv",
    "linear_attn.in_proj_z": "attn_gate",
    "linear_attn.in_proj_a": "ssm_alpha",
    "linear_attn.in_proj_b": "ssm_beta",
    "linear_attn.out_proj": "ssm_out",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NORM = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "post_attention_norm",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
}
PLAIN = ("ssm_alpha", "ssm_beta")  # neither ternary nor rotated


def tiled(x, axis, head):
    """Heads of values from groups of a key head to one of each key head in turn."""
    shape = x.shape
    split = (*shape[:axis], K_HEADS, V_HEADS // K_HEADS, head, *shape[axis + 1 :])
    return np.ascontiguousarray(x.reshape(split).swapaxes(axis, axis + 1).reshape(shape))


def hadamard(x):
    """Blocks of the last axis times the normalised matrix H(i, j) = (-1)^ones(i & j)."""
    i = np.arange(BLOCK)
    signs = 1 - 2 * (np.array([[bin(a & b).count("1") for b in i] for a in i]) & 1)
    blocks = x.astype(np.float64).reshape(*x.shape[:-1], -1, BLOCK)
    return (blocks @ signs / BLOCK**0.5).reshape(x.shape)


class Maker:
    def __init__(self, name, arch, widths, ternary=False, rotated=False):
        self.name, self.arch, self.widths = name, arch, widths
        self.ternary, self.rotated = ternary, rotated
        self.rng = np.random.default_rng(list(name.encode()))
        self.file = []
        self.rotations = []
        self.signs = {}
        self.tied = arch == "qwen3"
        torch.manual_seed(0)
        self.model = self.make_model()

    def make_model(self):
        s = self.widths
        common = dict(
            vocab_size=VOCAB,
            hidden_size=s["d"],
            intermediate_size=s["ffn"],
            num_hidden_layers=s["layers"],
            num_attention_heads=s["heads"],
            num_key_value_heads=s["kv_heads"],
            head_dim=s["head_dim"],
            rms_norm_eps=1e-6,
            max_position_embeddings=512,
            tie_word_embeddings=self.tied,
        )
        if self.arch == "qwen3":
            config = transformers.Qwen3Config(
                **common, rope_parameters={"rope_type": "default", "rope_theta": 1e6}
            )
        else:
            config = transformers.Qwen3_5TextConfig(
                **common,
                rope_parameters={
                    "rope_type": "default",
                    "rope_theta": 1e7,
                    "partial_rotary_factor": 0.25,
                    "mrope_section": [1, 1, 0],
                    "mrope_interleaved": True,
                },
                linear_conv_kernel_dim=CONV,
                linear_key_head_dim=STATE,
                linear_value_head_dim=STATE,
                linear_num_key_heads=K_HEADS,
                linear_num_value_heads=V_HEADS,
                full_attention_interval=4,
            )
        config._attn_implementation = "eager"
        return transformers.AutoModelForCausalLM.from_config(config).eval().float()

    def set(self, module, values, name="weight"):
        with torch.no_grad():
            tensor = getattr(module, name)
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(values, np.float32)).view_as(tensor))

    def add(self, name, values, type_id=w.F16):
        data = values.astype(np.float16 if type_id == w.F16 else np.float32)
        self.file.append((name, values.shape[::-1], type_id, data.tobytes()))

    def halves(self, shape, std):
        return (self.rng.standard_normal(shape) * std).astype(np.float16).astype(np.float32)

    def signs_of(self, width):
        if width not in self.signs:
            self.signs[width] = self.rng.choice([-1, 1], width)
        return self.signs[width]

    def unrotated(self, stored):
        """The weights that rotated ones stand for."""
        return (self.signs_of(stored.shape[-1]) * hadamard(stored)).astype(np.float32)

    def reordered(self, stem, values):
        """Rows (and columns of ssm_out) as the converter orders them."""
        if stem == "attn_qkv":
            qk, v = values[: 2 * KEYS], values[2 * KEYS :]
            return np.concatenate([qk, tiled(v, 0, STATE)])
        if stem == "attn_gate":
            return tiled(values, 0, STATE)
        if stem in PLAIN:
            return tiled(values, 0, 1)
        if stem == "ssm_out" and not self.rotated:
            return tiled(values, 1, STATE)
        return values

    def matrix(self, parent, leaf, stem, name, std):
        module = getattr(parent, leaf)
        rows, cols = module.weight.shape
        if self.ternary and stem not in (*PLAIN, "token_embd", "output"):
            trits = self.rng.choice(np.array([-1, 0, 1], np.int8), (rows, cols), p=[0.3, 0.4, 0.3])
            scale = np.float32(self.rng.uniform(0.7, 2.0) / (0.6 * cols) ** 0.5)
            linear = AutoBitLinear(cols, rows, bias=False, dtype=torch.float32)
            linear.weight_scale.fill_(float(scale))
            setattr(parent, leaf, linear)
            self.set(linear, trits)
            stored = self.reordered(stem, trits)
            self.file.append((name, stored.shape[::-1], w.I2_S, pack_i2_s(stored, float(scale))))
            return
        values = self.halves((rows, cols), std)
        self.add(name, self.reordered(stem, values))
        if self.rotated and stem not in PLAIN:
            if stem != "token_embd":
                self.rotations.append(name)
            values = self.unrotated(values)
        self.set(module, values)

    def norm(self, module, name):
        # Of Qwen3.5's norms the deviation from 1 is kept.
        deviation = self.halves(module.weight.shape, 0.2)
        values = deviation + np.float32(1)
        self.set(module, deviation if self.arch == "qwen35" else values)
        self.add(name + ".weight", values, w.F32)

    def delta_net(self, delta, blk):
        conv = self.halves((2 * KEYS + VALUES, CONV), 0.5)
        self.set(delta.conv1d, conv)
        qk, v = conv[: 2 * KEYS], conv[2 * KEYS :]
        self.add(blk + "ssm_conv1d.weight", np.concatenate([qk, tiled(v, 0, STATE)]), w.F32)
        a_log = self.rng.uniform(-3, 1, V_HEADS).astype(np.float16).astype(np.float32)
        self.set(delta, a_log, "A_log")
        decay = -torch.exp(torch.from_numpy(a_log)).numpy()
        self.add(blk + "ssm_a", tiled(decay, 0, 1), w.F32)
        bias = self.halves(V_HEADS, 1.0)
        self.set(delta, bias, "dt_bias")
        self.add(blk + "ssm_dt.bias", tiled(bias, 0, 1), w.F32)
        norm = self.halves(STATE, 0.2) + np.float32(1)
        norm = norm.astype(np.float16).astype(np.float32)
        self.set(delta.norm, norm)
        self.add(blk + "ssm_norm.weight", norm, w.F32)

    def make(self):
        body, d = self.model.model, self.widths["d"]
        embed_std = 2 / d**0.5 if self.tied else 1.0
        self.matrix(body, "embed_tokens", "token_embd", "token_embd.weight", embed_std)
        if not self.tied:
            self.matrix(self.model, "lm_head", "output", "output.weight", 2 / d**0.5)
        self.norm(body.norm, "output_norm")
        norms = NORM | ({"post_attention_layernorm": "ffn_norm"} if self.arch == "qwen3" else {})
        for i, layer in enumerate(body.layers):
            blk = f"blk.{i}."
            for path, stem in norms.items():
                parent, _, leaf = path.rpartition(".")
                if not parent or hasattr(layer, parent):
                    self.norm(layer.get_submodule(path), blk + stem)
            if hasattr(layer, "linear_attn"):
                self.delta_net(layer.linear_attn, blk)
            for path, stem in LINEAR.items():
                parent, leaf = path.split(".")
                if hasattr(layer, parent) and hasattr(getattr(layer, parent), leaf):
                    module = getattr(getattr(layer, parent), leaf)
                    std = 1.5 / module.in_features**0.5
                    self.matrix(getattr(layer, parent), leaf, stem, f"{blk}{stem}.weight", std)
        return self

    def keys(self):
        s, a = self.widths, self.arch
        keys = {
            "general.architecture": a,
            "general.name": self.name,
            f"{a}.vocab_size": VOCAB,
            f"{a}.context_length": 512,
            f"{a}.embedding_length": s["d"],
            f"{a}.block_count": s["layers"],
            f"{a}.feed_forward_length": s["ffn"],
            f"{a}.attention.head_count": s["heads"],
            f"{a}.attention.head_count_kv": s["kv_heads"],
            f"{a}.attention.key_length": s["head_dim"],
            f"{a}.attention.value_length": s["head_dim"],
            f"{a}.attention.layer_norm_rms_epsilon": 1e-6,
            f"{a}.rope.freq_base": 1e6 if a == "qwen3" else 1e7,
        }
        if a == "qwen35":
            keys |= {
                f"{a}.rope.dimension_count": s["head_dim"] // 4,
                f"{a}.rope.dimension_sections": w.I32([1, 1, 0, 0]),
                f"{a}.ssm.conv_kernel": CONV,
                f"{a}.ssm.state_size": STATE,
                f"{a}.ssm.group_count": K_HEADS,
                f"{a}.ssm.time_step_rank": V_HEADS,
                f"{a}.ssm.inner_size": VALUES,
                f"{a}.full_attention_interval": 4,
            }
        if self.rotated:
            widths = list(self.signs)
            keys |= {
                "prism.hadamard.version": 2 if self.tied else 1,
                "prism.hadamard.block_size": BLOCK,
                "prism.hadamard.transform": "normalized-sylvester-walsh-hadamard",
                "prism.hadamard.axis": "input-last-dimension",
                "prism.hadamard.sign_mode": "explicit",
                "prism.hadamard.sign_widths": w.I32(widths),
                "prism.hadamard.sign_values": w.I32([int(v) for x in widths for v in self.signs[x]]),
                "prism.hadamard.weight_names": self.rotations,
                "prism.hadamard.inverse_weight_names": ["token_embd.weight"],
            }
            if a == "qwen35":
                keys["prism.hadamard.gdn_v_grouped"] = True
            if self.tied:
                keys["prism.hadamard.tied_output"] = True
        return keys | vocabulary.gguf_keys("qwen35" if a == "qwen35" else "qwen2")

    def write(self):
        with w.GgufWriter(HERE / f"{self.name}.gguf") as out:
            out.keys(self.keys())
            for name, shape, type_id, raw in self.file:
                out.tensor(name, shape, type_id, len(raw))
            for *_, raw in self.file:
                out.data(raw)

    def logits(self, tokens):
        """One pass, checked against passes of one token each."""
        with torch.inference_mode():
            whole = self.model(torch.tensor([tokens])).logits[0].numpy().astype("<f4")
            cache, single = None, []
            for token in tokens:
                out = self.model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
                cache = out.past_key_values
                single.append(out.logits[0, 0].numpy())
        single = np.stack(single)
        difference = float(np.sqrt(np.mean((single - whole) ** 2) / np.mean(whole**2)))
        assert difference < (0.02 if self.ternary else 1e-5), difference
        whole[-KEPT:].tofile(HERE / f"{self.name}.f32")
        print(f"{self.name:16} std {whole.std():.2f}, token by token {difference:.1e}")


def write_folder(maker):
    """The same model as transformers saves it, in halves, with the tokenizer of the other folders."""
    folder = HERE / maker.name
    maker.model.half().save_pretrained(folder)
    maker.model.float()
    (folder / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [vocabulary.EOT]}) + "\n"
    )
    vocabulary.link_tokenizer(folder)


def main():
    torch.set_num_threads(1)
    tokens = vocabulary.encode(vocabulary.TEXT) * 5
    makers = [
        Maker("qwen35-f16", "qwen35", WIDTHS),
        Maker("qwen35-i2_s", "qwen35", TERNARY_WIDTHS, ternary=True),
        Maker("qwen35-hadamard", "qwen35", WIDTHS, rotated=True),
        Maker("qwen3-hadamard", "qwen3", WIDTHS | {"layers": 2}, rotated=True),
    ]
    for maker in makers:
        maker.make().write()
        maker.logits(tokens)
    write_folder(makers[0])
    (HERE / "manifest.json").write_text(
        json.dumps(
            {
                "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
                "tokens": tokens,
                "vocabulary": VOCAB,
            }
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
