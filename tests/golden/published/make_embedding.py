#!/usr/bin/env python3
"""Makes tiny random models with the very keys, tensor names and types of microsoft/bitnet-embedding-0.6b and -270m, and the
embeddings that a program must make with them.

    python3 -m venv v && v/bin/pip install -r ../models/requirements.txt
    v/bin/python make_embedding.py

What the published files hold was taken from what wrote them (microsoft/BitNet, utils/convert-bitnet-embedding-to-gguf.py, July
2026) and from programs that read them: file_type 40, I2_S products, F16 for all else, no output.weight; `<arch>.pooling_type` is 1
(mean) in both; Gemma's own norms are stored with 1 added, norms before projections without; the 270M's tokenizer is "llama" with
ranks of merges as scores, and no key speaks of windows or of a second RoPE base.

The truth is transformers' Qwen3Model and Gemma3TextModel in float32, every projection replaced by Projection below: the norm,
then int8 steps of each token's inputs, then ternary weights. Made with Python 3.11, torch 2.5.1, transformers 4.57.1.

Written for each: NAME.gguf, and NAME.f32: for each text of embedding.json the normalised mean of the outputs, the last one and the
first one, float32.
"""

import json
import os
import sys
from pathlib import Path

os.environ["TORCHDYNAMO_DISABLE"] = "1"

import numpy as np
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "models"), str(HERE.parent / "families")]
import vocabulary  # noqa: E402
from blocks import pack_i2_s, w  # noqa: E402
from make_families import LINEAR  # noqa: E402

TEXTS = ["query: What is BitNet?", "the  hen\n\n   and the rain <eos>", "on"]
QWEN_NORMS = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
}
GEMMA_NORMS = QWEN_NORMS | {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def keep_halves(module):
    """Keys and values are kept in halves, as in every program with a cache of F16: where an input of the next projection lies
    between two of its int8 steps, that decides which it takes."""
    exact = module.eager_attention_forward

    def attend(layer, query, key, value, *more, **options):
        return exact(layer, query, key.half().float(), value.half().float(), *more, **options)

    module.eager_attention_forward = attend


class Projection(torch.nn.Module):
    """x -> norm -> int8 a token -> ternary product."""

    def __init__(self, trits, scale, norm):
        super().__init__()
        self.trits, self.scale = torch.from_numpy(trits.astype(np.float32)), scale
        self.norm = torch.from_numpy(norm)

    def forward(self, x):
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.norm
        step = x.abs().amax(-1, keepdim=True).clamp(min=1e-5) / 127
        q = (x / step).round().clamp(-128, 127)
        return torch.nn.functional.linear(q, self.trits) * (step * self.scale)


def qwen_keys():
    """Ids of Qwen's file, in a vocabulary of 272: 269 stands for 151643 <|endoftext|>, 270 for 151645 <|im_end|>."""
    tokens = vocabulary.byte_characters() + [m.replace(" ", "") for m in vocabulary.MERGES]
    tokens += ["<|im_start|>", "<|endoftext|>", "<|im_end|>", "[PAD271]"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": w_types([1] * 268 + [3, 3, 3, 5]),
        "tokenizer.ggml.merges": vocabulary.MERGES,
        "tokenizer.ggml.eos_token_id": 269,
        "tokenizer.ggml.padding_token_id": 269,
        "tokenizer.ggml.bos_token_id": 269,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": True,
    }


def qwen_ids(text):
    return [*vocabulary.encode(text)[1:], 269]  # without the BOS of Llama 3


def w_types(types):
    from gguf_writer import I32

    return I32(types)


def gemma_vocabulary():
    return json.loads((HERE.parent / "tokenizers" / "gemma-spm.json").read_text(encoding="utf-8"))


def gemma_keys():
    file = gemma_vocabulary()
    ranks = {}
    for rank, merge in enumerate(file["merges"]):
        ranks.setdefault(merge.replace(" ", "", 1), float(-rank))
    kinds = [{1: 1, 2: 3, 3: 3, 4: 4, 6: 6}[kind] for _, _, kind in file["pieces"]]  # <unk> is a control token there
    scores = [
        -1000.0 if kind in (3, 4) else 0.0 if kind == 6 else ranks.get(piece, 0.0)
        for (piece, _, _), kind in zip(file["pieces"], kinds)
    ]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": [piece for piece, _, _ in file["pieces"]],
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.token_type": w_types(kinds),
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.unknown_token_id": 3,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": True,
    }


def gemma_ids(text):
    """transformers' GemmaTokenizerFast of that vocabulary. A text's own "<eos>" is text."""
    file = gemma_vocabulary()
    vocab = {piece: i for i, (piece, _, _) in enumerate(file["pieces"])}
    merges = []
    for merge in file["merges"]:
        cut = merge.index(" ", 1)
        merges.append((merge[:cut], merge[cut + 1 :]))
    bpe = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    bpe.normalizer = normalizers.Replace(" ", "\u2581")
    bpe.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    bpe.add_tokens([AddedToken(p, normalized=False) for p, _, kind in file["pieces"] if kind == 4])
    ids = bpe.encode(text, add_special_tokens=False).ids
    assert bpe.decode(ids) == text
    return [2, *ids, 1]


class Maker:
    def __init__(self, name, arch, model, keys, ids, norms):
        self.name, self.arch, self.model, self.keys, self.ids, self.norms = name, arch, model, keys, ids, norms
        self.rng = np.random.default_rng(list(name.encode()))
        self.tensors = []

    def halves(self, name, values):
        self.tensors.append((name, values.shape[::-1], w.F16, values.astype(np.float16).tobytes()))

    def norm(self, module, name):
        values = self.rng.integers(64, 192, module.weight.numel()).astype(np.float32) / 128  # exact with and without 1
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(values - 1 if "Gemma3" in type(module).__name__ else values))
        self.halves(name, values)

    def project(self, layer, path, name):
        parent = layer.get_submodule(path.split(".")[0])
        rows, cols = getattr(parent, path.split(".")[1]).weight.shape
        trits = self.rng.integers(-1, 2, (rows, cols)).astype(np.int8)
        scale = float(np.float32(1.2 / cols**0.5))
        norm = self.rng.integers(64, 192, cols).astype(np.float32) / 128
        setattr(parent, path.split(".")[1], Projection(trits, scale, norm))
        self.tensors.append((name + ".weight", (cols, rows), w.I2_S, pack_i2_s(trits, scale)))
        self.halves(name + "_norm_in.weight", norm)

    def fill(self):
        table = self.rng.standard_normal(self.model.embed_tokens.weight.shape).astype(np.float16).astype(np.float32)
        with torch.no_grad():
            self.model.embed_tokens.weight.copy_(torch.from_numpy(table))
        self.halves("token_embd.weight", table)
        for i, layer in enumerate(self.model.layers):
            for path, stem in self.norms.items():
                self.norm(layer.get_submodule(path), f"blk.{i}.{stem}.weight")
            for path, stem in LINEAR.items():
                self.project(layer, path, f"blk.{i}.{stem}")
        self.norm(self.model.norm, "output_norm.weight")

    def metadata(self):
        c, a = self.model.config, self.arch
        return {
            "general.architecture": a,
            "general.name": self.name.replace("embedding", "embeddings"),
            f"{a}.block_count": c.num_hidden_layers,
            f"{a}.context_length": 32768,
            f"{a}.embedding_length": c.hidden_size,
            f"{a}.feed_forward_length": c.intermediate_size,
            f"{a}.attention.head_count": c.num_attention_heads,
            f"{a}.attention.head_count_kv": c.num_key_value_heads,
            f"{a}.vocab_size": c.vocab_size,
            f"{a}.rope.dimension_count": c.head_dim,
            f"{a}.attention.key_length": c.head_dim,
            f"{a}.attention.value_length": c.head_dim,
            f"{a}.rope.freq_base": 1e6,
            f"{a}.attention.layer_norm_rms_epsilon": 1e-6,
            "general.file_type": 40,
            f"{a}.pooling_type": 1,
            **self.keys,
        }

    def write(self):
        with w.GgufWriter(HERE / f"{self.name}.gguf") as out:
            out.keys(self.metadata())
            for name, shape, kind, raw in self.tensors:
                out.tensor(name, shape, kind, len(raw))
            for *_, raw in self.tensors:
                out.data(raw)
        vectors = []
        with torch.inference_mode():
            for text in TEXTS:
                states = self.model(torch.tensor([self.ids(text)])).last_hidden_state[0]
                vectors += [states.mean(0), states[-1], states[0]]
        vectors = torch.nn.functional.normalize(torch.stack(vectors), dim=-1).numpy()
        vectors.astype("<f4").tofile(HERE / f"{self.name}.f32")
        return vectors


def main():
    torch.set_num_threads(1)
    keep_halves(transformers.models.qwen3.modeling_qwen3)
    keep_halves(transformers.models.gemma3.modeling_gemma3)
    common = dict(
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        rope_theta=1e6,
        rms_norm_eps=1e-6,
        attn_implementation="eager",
        tie_word_embeddings=True,
    )
    qwen3 = transformers.Qwen3Config(
        **common, vocab_size=272, hidden_size=64, intermediate_size=96, num_key_value_heads=2, head_dim=32
    )
    gemma3 = transformers.Gemma3TextConfig(
        **common,
        vocab_size=len(gemma_vocabulary()["pieces"]),
        hidden_size=32,
        intermediate_size=64,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=16,
        layer_types=["full_attention"] * 2,
    )
    manifest = {"texts": TEXTS, "models": []}
    for maker in (
        Maker(
            "bitnet-embedding-0.6b",
            "qwen3",
            transformers.Qwen3Model(qwen3).eval(),
            qwen_keys(),
            qwen_ids,
            QWEN_NORMS,
        ),
        Maker(
            "bitnet-embedding-270m",
            "gemma3",
            transformers.Gemma3TextModel(gemma3).eval(),
            gemma_keys(),
            gemma_ids,
            GEMMA_NORMS,
        ),
    ):
        maker.fill()
        vectors = maker.write()
        manifest["models"].append(
            {"name": maker.name, "width": vectors.shape[1], "ids": [maker.ids(t) for t in TEXTS]}
        )
        print(maker.name, np.round(vectors @ vectors.T, 2)[0])
    (HERE / "embedding.json").write_text(json.dumps(manifest) + "\n")


if __name__ == "__main__":
    main()
