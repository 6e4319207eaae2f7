"""The tokenizer of the golden models: byte-level BPE with a dozen merges and four special tokens,
272 tokens in all."""

import json
import os
import pathlib

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

HERE = pathlib.Path(__file__).resolve().parent
TEXT = "and the hen,\n42 a\u00e9 in"
BOS, END_OF_TEXT, EOT = 268, 269, 270
SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|pad|>"]
# Llama 3's expression, as its published tokenizer.json states it.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MERGES = [
    "\u0120 t",
    "h e",
    "i n",
    "\u0120 a",
    "\u0120t he",
    "o n",
    "r e",
    "e r",
    "\u0120 w",
    "a n",
    "n d",
    "\u0120a nd",
]


def byte_characters():
    """GPT-2's spelling of the 256 bytes: printable ones are themselves, the others characters from
    256 up."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spelling = {b: chr(b) for b in printable}
    for b in range(256):
        spelling.setdefault(b, chr(256 + len(spelling) - len(printable)))
    return [spelling[b] for b in range(256)]


def tokens():
    return byte_characters() + [m.replace(" ", "") for m in MERGES] + SPECIAL


def gguf_keys(pre="llama-bpe"):
    from gguf_writer import I32

    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens(),
        "tokenizer.ggml.token_type": I32([1] * 268 + [3] * 4),
        "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.bos_token_id": BOS,
        "tokenizer.ggml.eos_token_id": EOT,
        "tokenizer.ggml.add_bos_token": True,
    }


def encode(text):
    vocabulary = {t: i for i, t in enumerate(tokens())}
    bpe = Tokenizer(models.BPE(vocabulary, [tuple(m.split(" ")) for m in MERGES]))
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    ids = bpe.encode(text).ids
    assert bpe.decode(ids) == text
    return [BOS, *ids]


def write_tokenizer():
    """tokenizer.json and tokenizer_config.json, to which the folders of golden models link."""
    split = {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    special = [
        {"id": 268 + i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for i, text in enumerate(SPECIAL)
    ]
    begin = {"SpecialToken": {"id": SPECIAL[0], "type_id": 0}}
    tokenizer = {
        "version": "1.0",
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
        "post_processor": {"type": "TemplateProcessing", "single": [begin, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": {}},
        "decoder": level,
        "model": {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens()[:268])}, "merges": [m.split(" ") for m in MERGES]},
    }
    (HERE / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    config = {"bos_token": SPECIAL[0], "eos_token": {"content": SPECIAL[2]}}
    (HERE / "tokenizer_config.json").write_text(json.dumps(config))


def link_tokenizer(folder, names=("tokenizer.json", "tokenizer_config.json")):
    for name in names:
        link = pathlib.Path(folder) / name
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(HERE / name, folder))
