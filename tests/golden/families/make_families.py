#!/usr/bin/env python3
"""Makes tiny random models of the dense architectures beside bitnet, llama and qwen3, as GGUF files and as Hugging Face
folders, and what an engine must compute from them.

    python3 -m venv v && v/bin/pip install -r ../models/requirements.txt safetensors
    v/bin/python make_families.py

The truth is `transformers` 4.57.1 in float32 on the CPU (torch 2.5.1, gguf 0.19.0, numpy 2.2.6, Python 3.11). It has no class
for MiniCPM: that is its Granite, which has the same scales of embeddings, residuals and logits, with LongRoPE factors.
bitnet-embedding models are Qwen3 and Gemma3 with AutoBitLinear(use_rms_norm=True) layers, or, to compare without int8 steps,
float layers behind the same norm.

Written for each model NAME: NAME.gguf; NAME/, a folder of the same weights under the names of the published models, with the
config.json that transformers writes (MiniCPM's, which it does not know, by hand); NAME.f32, little-endian: the logits of POSITIONS of
a text of COUNT tokens, longer than the window and than a segment of attention; or, of embedding models, the normalised
embedding of the text EMBEDDED by last-token pooling, then by mean pooling.
"""

import json
import os
import sys
from pathlib import Path

os.environ["TORCHDYNAMO_DISABLE"] = "1"

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from transformers.integrations.bitnet import AutoBitLinear
from transformers.models.llama.modeling_llama import LlamaRMSNorm

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "models")]
import vocabulary  # noqa: E402
from blocks import pack_i2_s, w  # noqa: E402

VOCAB = len(vocabulary.tokens())
COUNT = 300
POSITIONS = [5, 20, 100, 255, 256, 257, 280, 299]
EMBEDDED = "the hen and the rain are in the barn again, on and on"
WINDOW = 8
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
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.query_layernorm": "attn_q_norm",
    "self_attn.key_layernorm": "attn_k_norm",
}
GEMMA_NORM = NORM | {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
COMMON = dict(
    vocab_size=VOCAB,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=512,
    attn_implementation="eager",
    bos_token_id=vocabulary.BOS,
    eos_token_id=vocabulary.EOT,
    pad_token_id=271,
)
LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]
SHORT_FACTORS = [1.0, 1.25, 1.5, 2.5]
LONG_FACTORS = [1.0, 2.0, 4.0, 8.0]


def tokens(count):
    return [(7 * i * i + 3 * i) % 268 for i in range(count)]


class NormedLinear(torch.nn.Linear):
    """A float layer behind a norm of its own."""

    def __init__(self, cols, rows):
        super().__init__(cols, rows, bias=False)
        self.rms_norm = LlamaRMSNorm(cols, eps=1e-6)

    def forward(self, x):
        return super().forward(self.rms_norm(x))


def minicpm():
    config = transformers.GraniteConfig(
        **COMMON,
        rms_norm_eps=1e-5,
        embedding_multiplier=12.0,
        residual_multiplier=1.4 / 3**0.5,
        attention_multiplier=8**-0.5,
        logits_scaling=2.0,
        tie_word_embeddings=False,
        original_max_position_embeddings=400,
        rope_scaling={
            "rope_type": "longrope",
            "factor": 1.28,
            "short_factor": SHORT_FACTORS,
            "long_factor": LONG_FACTORS,
            "original_max_position_embeddings": 400,
        },
    )
    theirs = {
        "architectures": ["MiniCPMForCausalLM"],
        "model_type": "minicpm",
        "hidden_act": "silu",
        "scale_emb": 12,
        "scale_depth": 1.4,
        "dim_model_base": 16,
        "rope_scaling": config.rope_scaling,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        **{k: v for k, v in COMMON.items() if k != "attn_implementation"},
    }
    keys = {
        "embedding_scale": 12.0,
        "residual_scale": 1.4 / 3**0.5,
        "logit_scale": 2.0,
        "rope.scaling.type": "longrope",
        "rope.scaling.original_context_length": 400,
        "attention.layer_norm_rms_epsilon": 1e-5,
    }
    return "minicpm", config, keys, theirs


def gemma3(window=True):
    config = transformers.Gemma3TextConfig(
        **COMMON,
        head_dim=16,
        query_pre_attn_scalar=24,
        sliding_window=WINDOW,
        layer_types=LAYERS if window else ["full_attention"] * 3,
        rope_theta=1e6,
        rope_local_base_freq=500.0,
        rope_scaling={"rope_type": "linear", "factor": 4.0} if window else None,
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
    )
    keys = {
        "attention.layer_norm_rms_epsilon": 1e-6,
        "attention.scale": 24**-0.5,
        "rope.freq_base": 1e6,
        "attention.key_length": 16,
        "attention.value_length": 16,
    }
    if window:
        keys |= {
            "attention.sliding_window": WINDOW,
            "attention.sliding_window_pattern": [t == "sliding_attention" for t in LAYERS],
            "rope.freq_base_swa": 500.0,
            "rope.scaling.type": "linear",
            "rope.scaling.factor": 4.0,
        }
    return "gemma3", config, keys, None


def qwen3():
    config = transformers.Qwen3Config(
        **COMMON, head_dim=16, rope_theta=1e6, rms_norm_eps=1e-6, tie_word_embeddings=True
    )
    keys = {
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.freq_base": 1e6,
        "attention.key_length": 16,
        "attention.value_length": 16,
        "pooling_type": 3,
    }
    return "qwen3", config, keys, None


def hunyuan():
    config = transformers.HunYuanDenseV1Config(
        **COMMON,
        head_dim=16,
        rope_theta=10000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        rope_scaling={"type": "dynamic", "alpha": 1000.0, "factor": 1.0},
    )
    keys = {
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.freq_base": 10000.0 * 1000.0 ** (16 / 14),
        "rope.scaling.type": "none",
        "attention.key_length": 16,
        "attention.value_length": 16,
    }
    return "hunyuan-dense", config, keys, None


def cohere2():
    config = transformers.Cohere2Config(
        **COMMON,
        sliding_window=WINDOW,
        layer_types=LAYERS,
        rope_theta=50000.0,
        layer_norm_eps=1e-5,
        logit_scale=0.25,
        tie_word_embeddings=True,
    )
    keys = {
        "attention.layer_norm_epsilon": 1e-5,
        "attention.sliding_window": WINDOW,
        "attention.sliding_window_pattern": [t == "sliding_attention" for t in LAYERS],
        "rope.freq_base": 50000.0,
        "logit_scale": 0.25,
    }
    return "cohere2", config, keys, None


def bf16_exact(values):
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return bits.view(np.float32)


class Maker:
    def __init__(self, name, family, embedding=None):
        self.name, self.embedding = name, embedding  # None, "float" or "ternary"
        self.arch, self.config, self.keys, self.theirs = family
        self.rng = np.random.default_rng(list(name.encode()))
        self.model = transformers.AutoModelForCausalLM.from_config(self.config).eval().float()
        self.gguf, self.folder = [], {}

    def make(self):
        inner = self.model.model
        self.matrix(inner.embed_tokens, "model.embed_tokens", "token_embd", 1.0)
        if not self.config.tie_word_embeddings:
            self.matrix(self.model.lm_head, "lm_head", "output", 2 / 32**0.5)
        self.norm(inner.norm, "model.norm", "output_norm")
        for i, layer in enumerate(inner.layers):
            for path, stem in (GEMMA_NORM if self.arch == "gemma3" else NORM).items():
                try:
                    module = layer.get_submodule(path)
                except AttributeError:
                    continue
                self.norm(module, f"model.layers.{i}.{path}", f"blk.{i}.{stem}")
            for path, stem in LINEAR.items():
                self.linear(layer, path, f"model.layers.{i}.{path}", f"blk.{i}.{stem}")
        if self.arch == "minicpm":
            for which, factors in (("short", SHORT_FACTORS), ("long", LONG_FACTORS)):
                values = np.float32(factors)
                self.gguf.append((f"rope_factors_{which}.weight", values.shape, w.F32, values.tobytes()))

    def set(self, parameter, values):
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(values, np.float32)))

    def to_folder(self, name, values):
        if self.embedding:  # a model without a head is saved without the prefix
            name = name.removeprefix("model.")
        self.folder[name] = torch.from_numpy(np.array(values, np.float32)).to(torch.bfloat16)

    def norm(self, module, theirs, ours):
        values = bf16_exact(self.rng.uniform(0.5, 1.5, module.weight.numel()))
        if self.arch == "gemma3" and "Gemma3" in type(module).__name__:
            values = bf16_exact(values - 1)  # what the model adds 1 to
            stored = values + 1
        else:
            stored = values
        self.set(module.weight, values.reshape(module.weight.shape))
        self.to_folder(theirs + ".weight", values)
        self.gguf.append((ours + ".weight", stored.shape, w.F32, np.float32(stored).tobytes()))

    def matrix(self, module, theirs, ours, std):
        values = bf16_exact(self.rng.standard_normal(module.weight.shape) * std)
        self.set(module.weight, values)
        self.to_folder(theirs + ".weight", values)
        stored = values
        if self.arch == "minicpm" and ours.endswith(("attn_q", "attn_k")):
            stored = values.reshape(-1, 2, 4, 32).swapaxes(1, 2).reshape(values.shape)
        raw = (np.ascontiguousarray(stored).view(np.uint32) >> 16).astype(np.uint16)
        self.gguf.append((ours + ".weight", stored.shape[::-1], w.BF16, raw.tobytes()))

    def linear(self, layer, path, theirs, ours):
        parent, leaf = layer.get_submodule(path.split(".")[0]), path.split(".")[1]
        rows, cols = getattr(parent, leaf).weight.shape
        if not self.embedding:
            return self.matrix(getattr(parent, leaf), theirs, ours, 1.5 / cols**0.5)
        if self.embedding == "float":
            linear = NormedLinear(cols, rows)
            self.matrix(linear, theirs, ours, 1.5 / cols**0.5)
        else:
            linear = AutoBitLinear(cols, rows, bias=False, online_quant=True, use_rms_norm=True)
            values = bf16_exact(self.rng.standard_normal((rows, cols)))
            self.set(linear.weight, values)
            self.to_folder(theirs + ".weight", values)
            mean = torch.from_numpy(values).abs().mean()
            trits = torch.from_numpy(values).div(mean).round().clamp(-1, 1).numpy().astype(np.int8)
            raw = pack_i2_s(trits, float(mean))
            self.gguf.append((ours + ".weight", (cols, rows), w.I2_S, raw))
        setattr(parent, leaf, linear)
        self.norm(linear.rms_norm, theirs + ".norm", ours + "_norm_in")

    def metadata(self):
        c = self.config
        keys = {
            "general.architecture": self.arch,
            "general.name": self.name,
            f"{self.arch}.context_length": 512,
            f"{self.arch}.embedding_length": 32,
            f"{self.arch}.block_count": 3,
            f"{self.arch}.feed_forward_length": c.intermediate_size,
            f"{self.arch}.attention.head_count": 4,
            f"{self.arch}.attention.head_count_kv": 2,
        }
        keys |= {f"{self.arch}.{k}": v for k, v in self.keys.items()}
        keys |= vocabulary.gguf_keys("qwen2" if self.arch == "qwen3" else "llama-bpe")
        if self.embedding:
            keys["tokenizer.ggml.add_eos_token"] = True
        return keys

    def truth(self):
        with torch.inference_mode():
            if self.embedding:
                ids = [*vocabulary.encode(EMBEDDED), vocabulary.EOT]
                states = self.model.model(torch.tensor([ids])).last_hidden_state[0]
                vectors = torch.stack([states[-1], states.mean(0)])
                return torch.nn.functional.normalize(vectors, dim=-1).numpy()
            return self.model(torch.tensor([tokens(COUNT)])).logits[0][POSITIONS].numpy()

    def write(self):
        with w.GgufWriter(HERE / f"{self.name}.gguf") as out:
            out.keys(self.metadata())
            for name, shape, kind, raw in self.gguf:
                out.tensor(name, shape, kind, len(raw))
            for *_, raw in self.gguf:
                out.data(raw)
        self.truth().astype("<f4").tofile(HERE / f"{self.name}.f32")
        if self.embedding == "float":
            return  # of such models only a GGUF file is known
        folder = HERE / self.name
        folder.mkdir(exist_ok=True)
        save_file(self.folder, folder / "model.safetensors", metadata={"format": "pt"})
        theirs = self.theirs
        if theirs is None:
            theirs = self.config.to_diff_dict() | {"model_type": self.config.model_type}
            kind = type(self.model.model if self.embedding else self.model).__name__
            theirs["architectures"] = [kind]
            theirs = {k: v for k, v in theirs.items() if not k.startswith("output_") and v is not None}
        (folder / "config.json").write_text(json.dumps(theirs, indent=1) + "\n")
        vocabulary.link_tokenizer(folder)
        if self.embedding:
            config = json.loads((folder / "tokenizer_config.json").read_text())
            (folder / "tokenizer_config.json").unlink()  # a link to the one of all golden models
            config |= {"add_bos_token": True, "add_eos_token": True, "eos_token": "<|eot_id|>"}
            (folder / "tokenizer_config.json").write_text(json.dumps(config) + "\n")
            (folder / "1_Pooling").mkdir(exist_ok=True)
            pooling = {"word_embedding_dimension": 32, "pooling_mode_lasttoken": True}
            (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling) + "\n")


def main():
    torch.set_num_threads(1)
    for name, family, embedding in [
        ("minicpm", minicpm(), None),
        ("gemma3", gemma3(), None),
        ("hunyuan-dense", hunyuan(), None),
        ("cohere2", cohere2(), None),
        ("qwen3-embedding", qwen3(), "float"),
        ("gemma3-embedding", gemma3(window=False), "ternary"),
    ]:
        maker = Maker(name, family, embedding)
        maker.make()
        maker.write()
        print(name, (HERE / f"{name}.gguf").stat().st_size, maker.truth().std())


if __name__ == "__main__":
    main()
