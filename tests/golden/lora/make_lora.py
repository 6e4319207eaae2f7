#!/usr/bin/env python3
"""Makes LoRA adapters for the golden models, and the logits that an engine must compute with them.

    python3 -m venv v && v/bin/pip install -r ../models/requirements.txt peft==0.21.2
    v/bin/python make_lora.py

The truth is PEFT over `transformers` in float32: the models of ../models/make_models.py, their layers wrapped by PEFT's own LoRA
layers (AutoBitLinear is a torch Linear, so PEFT wraps ternary layers too, and its A reads what AutoBitLinear reads before it
rounds). Adapters are saved by PEFT itself, and once more as a GGUF file in the layout of llama.cpp's convert_lora_to_gguf.py, by
the gguf package: NAME.lora_a and NAME.lora_b as torch holds them, rows of B reordered for q and k of llama models. Made with
Python 3.11, torch 2.5.1, transformers 4.57.1, peft 0.21.2, gguf 0.19.0.

Written: folders and files of adapters, EXPECTED.f32 with logits [tokens, vocabulary] in float32 for the tokens of the models'
manifest, and manifest.json, which says what each EXPECTED is made of.
"""

import json
import os
import shutil
import sys
from pathlib import Path

os.environ["TORCHDYNAMO_DISABLE"] = "1"

import gguf
import numpy as np
import peft
import torch

HERE = Path(__file__).resolve().parent
MODELS = HERE.parent / "models"
sys.path[:0] = [str(MODELS), str(HERE.parents[2] / "tools")]
import make_models  # noqa: E402
import vocabulary  # noqa: E402

ALL = list(p.split(".")[1] for p in make_models.LINEAR)
STEMS = {path.split(".")[1]: stem for path, stem in make_models.LINEAR.items()}


def spec(name):
    return next(s for s in make_models.SPECS if s.name == name)


def add_adapter(model, name, config, seed):
    """PEFT's adapter with random numbers in both matrices (it begins with B = 0)."""
    if isinstance(model, peft.PeftModel):
        model.add_adapter(name, config)
    else:
        model = peft.get_peft_model(model, config, adapter_name=name)
    rng = np.random.default_rng(seed)
    for key, value in sorted(model.named_parameters()):
        if "lora_" in key and f".{name}." in key:
            std = 1 / value.shape[1] ** 0.5
            numbers = (rng.standard_normal(value.shape) * std).astype(np.float16)  # exact in every type
            with torch.no_grad():
                value.copy_(torch.from_numpy(numbers.astype(np.float32)))
    return model


def save_peft(model, name, dtype=torch.float32):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, selected_adapters=[name])
    if (folder / name).exists():  # PEFT puts every adapter but "default" one level deeper
        for file in (folder / name).iterdir():
            shutil.move(file, folder / file.name)
        (folder / name).rmdir()
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    text = path.read_text()
    if base := json.loads(text)["base_model_name_or_path"]:  # a path of the machine that ran this
        path.write_text(text.replace(json.dumps(base), json.dumps(Path(base).name)))
    if dtype != torch.float32:
        from safetensors.torch import load_file, save_file

        path = folder / "adapter_model.safetensors"
        save_file({k: v.to(dtype) for k, v in load_file(path).items()}, path)


def save_gguf(model, name, alpha, s, dtype):
    out = gguf.GGUFWriter(HERE / f"{name}.gguf", s.arch)
    out.add_type(gguf.GGUFType.ADAPTER)
    out.add_string(gguf.Keys.Adapter.TYPE, "lora")
    out.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(alpha))
    for key, value in sorted(model.named_parameters()):
        if f".{name}." not in key:
            continue
        parts = key.split(".")
        layer, module, half = parts[parts.index("layers") + 1], parts[-4], parts[-3]
        values = value.detach().numpy()
        stem = STEMS[module]
        if s.permuted and half == "lora_B" and stem in ("attn_q", "attn_k"):
            values = make_models.permute(values, s.heads if stem == "attn_q" else s.kv_heads)
        out.add_tensor(f"blk.{layer}.{stem}.weight.{half.lower()}", np.ascontiguousarray(values.astype(dtype)))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def logits(model, scales):
    """With each adapter times its scale, as PEFT's scaling does it."""
    model.base_model.set_adapter(list(scales))
    touched = []
    for module in model.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            for name, scale in scales.items():
                if name in module.scaling:
                    touched.append((module, name, module.scaling[name]))
                    module.scaling[name] *= scale
    out = make_models.logits_of(model, vocabulary.encode(vocabulary.TEXT))
    for module, name, scaling in touched:
        module.scaling[name] = scaling
    return out


def main():
    torch.set_num_threads(1)
    entries = []

    def expect(name, model, base, scales, adapters):
        values = logits(model, scales)
        values.tofile(HERE / f"{name}.f32")
        plain = np.fromfile(MODELS / f"{base}.f32", "<f4").reshape(values.shape)
        moved = make_models.relative_rms(values, plain)
        print(f"{name:20} moves the logits by {moved:.2f}")
        assert moved > 0.3
        entries.append({"logits": f"{name}.f32", "base": base, "adapters": adapters})

    # A dense Llama: PEFT with other ranks and alphas for some modules; a second adapter in half precision as a GGUF file.
    s = spec("llama-bf16")
    model = make_models.Maker(s).make()
    patterns = dict(rank_pattern={"q_proj": 3, "layers.1.mlp.down_proj": 6}, alpha_pattern={"k_proj": 10})
    model = add_adapter(model, "wide", peft.LoraConfig(r=4, lora_alpha=6, target_modules=ALL, **patterns), 1)
    save_peft(model, "wide")
    expect("wide", model, s.name, {"wide": 1}, [["wide", 1]])
    expect("wide-half", model, s.name, {"wide": 0.5}, [["wide", 0.5]])
    model = add_adapter(model, "thin", peft.LoraConfig(r=2, lora_alpha=3, target_modules=["q_proj", "k_proj", "o_proj"]), 2)
    save_gguf(model, "thin", 3, s, np.float16)
    save_peft(model, "thin", torch.float16)
    expect("thin", model, s.name, {"thin": 1}, [["thin.gguf", 1]])
    expect("both", model, s.name, {"wide": 0.5, "thin": -1.5}, [["wide", 0.5], ["thin.gguf", -1.5]])

    # A ternary BitNet, scaled by the root of the rank.
    s = spec("bitnet-b1.58-i2_s")
    model = make_models.Maker(s).make()
    model = add_adapter(model, "bitnet", peft.LoraConfig(r=2, lora_alpha=1.5, use_rslora=True, target_modules=ALL), 3)
    save_peft(model, "bitnet", torch.bfloat16)
    with torch.no_grad():  # what bfloat16 kept
        for key, value in model.named_parameters():
            if "lora_" in key:
                value.copy_(value.to(torch.bfloat16).float())
    expect("bitnet", model, s.name, {"bitnet": 1}, [["bitnet", 1]])
    expect("bitnet-half", model, s.name, {"bitnet": 0.5}, [["bitnet", 0.5]])
    (HERE / "manifest.json").write_text(json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()
