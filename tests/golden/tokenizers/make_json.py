#!/usr/bin/env python3
"""Writes json.json: tokenizer.json files with the steps that published ones have, and the ids that `tokenizers` gives.

usage: make_json.py        (needs tokenizers 0.23.3 from PyPI)

Each case is a list of edits of one of two small tokenizers, trained on the words below: SentencePiece's kind ("spm", spaces
written as U+2581, bytes for what is missing) and the byte-level kind ("bytes"). The truth is the `tokenizers` library, whose
file tokenizer.json is. What transformers makes of a model's settings beside the file is another matter.
"""

import copy
import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

HERE = Path(__file__).resolve().parent
WORDS = (
    "the hen and the rain in the garden is it in there? Hello world, hello again! 12 34 567 user assistant system "
    "the theme of them all, and then some more of the same; naïve café über e\u0301 don't we'll "
).split() * 4
CORPUS = [" ".join(WORDS), "the  hen   and\n\nthe rain\tin", "a b c d e f g h i j k l m n o p q r s t u v w x y z"]
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<start_of_turn>", "[INST]"]
TEXTS = [
    "", " ", "  ", "Hello world", " Hello world", "  Hello world", "the hen", "\nthe", "the\n\n hen  and", "\u2581the",
    "<s>", "<s>the hen", "<s> the hen", "<s>  the hen", "the</s>", "the </s> hen", "the  </s>  hen", "</s></s>the",
    " <s>the", "<|im_start|>user\nthe hen<|im_end|>\n<|im_start|>assistant\n", "[INST] the hen [/INST] and</s>[INST] in",
    "<start_of_turn>user\nhi<end_of_turn>\n", "<tool>the</tool>", "x<tool>y", "x <tool> y", "the <tool>hen", "a<tool>",
    "<tool> a", "e\u0301 \u00e9 caf\u00e9 cafe\u0301", "e\u0301<s>e\u0301", "don't we'll 1234567 12", "zq \u4e16\u754c \U0001f600",
    "the\u00a0hen\u2003<s>\u3000x", "<|im_end|> \n\t the", "\t<|im_end|>", "theme thethe the the", "hen<s",
]


def train(kind):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>" if kind == "spm" else None, byte_fallback=kind == "spm", fuse_unk=kind == "spm"))
    initial = []
    if kind == "spm":
        tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
        special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        initial = sorted(pre_tokenizers.ByteLevel.alphabet())
        special = []
    trainer = trainers.BpeTrainer(vocab_size=520, special_tokens=special, initial_alphabet=initial, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = []
    data["post_processor"] = None
    if kind == "spm":
        data["decoder"] = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                           {"type": "ByteFallback"}, {"type": "Fuse"}]}
    ids = data["model"]["vocab"]
    def add(text, **flags):
        ids_used = max(list(ids.values()) + [t["id"] for t in data["added_tokens"]]) + 1
        entry = {"id": ids.get(text, ids_used), "content": text, "single_word": False, "lstrip": False, "rstrip": False,
                 "normalized": False, "special": True}
        entry.update(flags)
        data["added_tokens"].append(entry)
    for text in (["<unk>"] if kind == "spm" else []) + SPECIAL:
        add(text)
    add("<tool>", special=False)
    data["added_tokens"].sort(key=lambda t: t["id"])
    return data


def metaspace(scheme=None, split=False, **more):
    out = {"type": "Metaspace", "replacement": "\u2581", **more}
    if scheme:
        out["prepend_scheme"] = scheme
    if split is not None:
        out["split"] = split
    return out


REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
PREPEND = {"type": "Prepend", "prepend": "\u2581"}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
SPLIT = {"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Isolated", "invert": False}
QWEN = {"type": "Split", "pattern": {"Regex": LLAMA3.replace("{1,3}", "")}, "behavior": "Isolated", "invert": False}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def flagged(**flags):
    def edit(data):
        for token in data["added_tokens"]:
            if token["content"] in ("<tool>", "</s>", "<|im_end|>"):
                token.update(flags)
    return edit


def steps(normalizer=None, pre_tokenizer=None, **model):
    def edit(data):
        data["normalizer"] = normalizer
        data["pre_tokenizer"] = pre_tokenizer
        data["model"].update(model)
    return edit


SPM_PREPEND = steps({"type": "Sequence", "normalizers": [PREPEND, REPLACE]}, None)
CASES = {
    "prepend": ("spm", [SPM_PREPEND]),
    "metaspace-first": ("spm", [steps(None, metaspace("first"))]),
    "metaspace-always": ("spm", [steps(None, metaspace("always"))]),
    "metaspace-never": ("spm", [steps(None, metaspace("never"))]),
    "metaspace-split": ("spm", [steps(None, metaspace("first", split=True))]),
    "metaspace-always-split": ("spm", [steps(None, metaspace("always", split=None))]),
    "metaspace-old-on": ("spm", [steps(None, metaspace(None, split=None, add_prefix_space=True))]),
    "metaspace-old-off": ("spm", [steps(None, metaspace(None, split=None, add_prefix_space=False, prepend_scheme="never"))]),
    "metaspace-in-sequence": ("spm", [steps(None, sequence(metaspace("first")))]),
    "gemma": ("spm", [steps(REPLACE, {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False})]),
    "spm-rstrip": ("spm", [SPM_PREPEND, flagged(rstrip=True)]),
    "spm-lstrip": ("spm", [steps(None, metaspace("first")), flagged(lstrip=True)]),
    "spm-both": ("spm", [steps(None, metaspace("always")), flagged(lstrip=True, rstrip=True)]),
    "spm-single-word": ("spm", [steps(None, metaspace("first")), flagged(single_word=True)]),
    "llama3": ("bytes", [steps(None, sequence(SPLIT, BYTES), ignore_merges=True)]),
    "llama3-merges": ("bytes", [steps(None, sequence(SPLIT, BYTES), ignore_merges=False)]),
    "llama3-nfc": ("bytes", [steps({"type": "NFC"}, sequence(SPLIT, BYTES), ignore_merges=False)]),
    "qwen": ("bytes", [steps({"type": "NFC"}, sequence(QWEN, BYTES))]),
    "qwen-plain": ("bytes", [steps(None, sequence(QWEN, BYTES))]),
    "gpt2": ("bytes", [steps(None, {**BYTES, "use_regex": True})]),
    "gpt2-space": ("bytes", [steps(None, {**BYTES, "use_regex": True, "add_prefix_space": True})]),
    "bytes-rstrip": ("bytes", [steps(None, sequence(SPLIT, BYTES), ignore_merges=True), flagged(rstrip=True)]),
    "bytes-lstrip": ("bytes", [steps(None, sequence(SPLIT, BYTES), ignore_merges=True), flagged(lstrip=True)]),
    "bytes-single-word": ("bytes", [steps(None, sequence(SPLIT, BYTES), ignore_merges=True), flagged(single_word=True)]),
}


def main():
    bases = {kind: train(kind) for kind in ("spm", "bytes")}
    cases = {}
    for name, (kind, edits) in CASES.items():
        data = copy.deepcopy(bases[kind])
        for edit in edits:
            edit(data)
        tokenizer = Tokenizer.from_str(json.dumps(data))
        changes = {key: data[key] for key in ("normalizer", "pre_tokenizer", "added_tokens")}
        changes["model"] = {k: v for k, v in data["model"].items() if k not in ("vocab", "merges")}
        cases[name] = {"base": kind, "changes": changes, "ids": [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]}
    out = {"bases": bases, "texts": TEXTS, "cases": cases}
    (HERE / "json.json").write_text(json.dumps(out, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
