#!/usr/bin/env python3
"""Writes chats.json: which tokens begin a text and a chat's prompt, and which end a turn, for each published family.

    python3 -m venv v && v/bin/pip install -r ../models/requirements.txt sentencepiece==0.2.3 protobuf
    v/bin/python make_chats.py

A case is the tokenizer's keys of a family's GGUF files, over a small vocabulary with the special tokens of the published one. What
the files say was taken from their converters, their model cards and programs that read them; the ids of Falcon's special tokens
are the real ones. Templates are those of ../templates/jinja, which do what the published ones do.

The truth is transformers 4.57.1: the tokenizer with the settings of the family's tokenizer_config.json, its apply_chat_template, and
the encoding of what comes out; of two BOS, one by the template and one by the tokenizer, one is taken away. Which tokens end a turn
is not computed: it is what the models were trained to write, by their templates.
"""

import io
import json
import sys
import tempfile
from pathlib import Path

import sentencepiece
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "models")]
import vocabulary  # noqa: E402

TEXT = "the hen and"
TALK = [
    {"role": "user", "content": "the hen"},
    {"role": "assistant", "content": "and the rain"},
    {"role": "user", "content": "is it in?"},
]
QWEN_SPLIT = vocabulary.SPLIT.replace("{1,3}", "")
DEEPSEEK = [
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
]
NEOX_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
FALCON = [">>TITLE<<", ">>ABSTRACT<<", ">>INTRODUCTION<<", ">>SUMMARY<<", ">>COMMENT<<", ">>ANSWER<<", ">>QUESTION<<"]
FALCON += [">>DOMAIN<<", ">>EMAIL_ADDRESS<<", ">>IP_ADDRESS<<", "<|startoftext|>", "<|endoftext|>"]  # 11
BITNET = (
    "{% for m in messages %}{% set turn = m.role | capitalize + ': ' + m.content | trim + '<|eot_id|>' %}"
    "{{ bos_token + turn if loop.index0 == 0 else turn }}{% endfor %}{% if add_generation_prompt %}Assistant: {% endif %}"
)
PLACEHOLDER = (
    "{% for message in messages %}{% if message['role'] == 'user' %}Human: {{ message['content'] }}\n\n"
    "BITNETAssistant: {% endif %}{% endfor %}"
)


def template(name):
    return (HERE.parent / "templates" / "jinja" / f"{name}.jinja").read_text()


class Bpe:
    """Byte-level, with special tokens before the others or behind them."""

    def __init__(self, steps, first=(), last=(), nfc=False, bos=None):
        plain = vocabulary.byte_characters() + [m.replace(" ", "") for m in vocabulary.MERGES]
        self.tokens = [*first, *plain, *last]
        self.special = [*first, *last]
        vocab = {t: i for i, t in enumerate(self.tokens)}
        bpe = Tokenizer(models.BPE(vocab, [tuple(m.split(" ")) for m in vocabulary.MERGES]))
        bpe.normalizer = normalizers.NFC() if nfc else None
        splits = [pre_tokenizers.Split(Regex(step), "isolated") for step in steps]
        bpe.pre_tokenizer = pre_tokenizers.Sequence(
            [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
        bpe.decoder = decoders.ByteLevel()
        bpe.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in self.special])
        if bos:
            bpe.post_processor = processors.TemplateProcessing(f"{bos} $A", special_tokens=[(bos, vocab[bos])])
        self.bpe = bpe

    def id(self, token):
        return self.tokens.index(token)

    def keys(self):
        return {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.tokens": self.tokens,
            "tokenizer.ggml.token_type": [3 if t in self.special else 1 for t in self.tokens],
            "tokenizer.ggml.merges": vocabulary.MERGES,
        }

    def transformers(self, **settings):
        return transformers.PreTrainedTokenizerFast(tokenizer_object=self.bpe, **settings)


class Spm:
    """As Llama 2's, with a space put in front of a text and behind special tokens."""

    def __init__(self, control=()):
        blob = io.BytesIO()
        lines = [TEXT, "the rain is in the barn and the hen is on it\n", "user assistant system: 12"] * 40
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=blob, vocab_size=330, model_type="bpe", byte_fallback=True,
            normalization_rule_name="identity", control_symbols=list(control), minloglevel=2, num_threads=1,
            hard_vocab_limit=False,
        )  # fmt: skip
        self.blob = blob.getvalue()
        self.sp = sentencepiece.SentencePieceProcessor(model_proto=self.blob)
        self.tokens = [self.sp.id_to_piece(i) for i in range(self.sp.get_piece_size())]

    def id(self, token):
        return self.tokens.index(token)

    def keys(self):
        sp = self.sp
        kind = lambda i: 2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 1
        return {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.pre": "default",
            "tokenizer.ggml.tokens": self.tokens,
            "tokenizer.ggml.scores": [float(sp.get_score(i)) for i in range(len(self.tokens))],
            "tokenizer.ggml.token_type": [kind(i) for i in range(len(self.tokens))],
            "tokenizer.ggml.unknown_token_id": 0,
        }

    def transformers(self, **settings):
        with tempfile.NamedTemporaryFile(suffix=".model") as file:
            file.write(self.blob)
            file.flush()
            return transformers.LlamaTokenizerFast(vocab_file=file.name, legacy=True, add_prefix_space=True, **settings)


def case(name, arch, vocab, says, stops, chat=None, in_file=None, **settings):
    """`says`: the file's other keys; `chat`: the template of the truth; `in_file`: the file's own, where it is another."""
    judge = vocab.transformers(**settings)
    if chat:
        judge.chat_template = chat
    begin = judge.encode(TEXT)
    talk = None
    if chat:
        text = judge.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True)
        talk = judge.encode(text)
        if len(talk) > 1 and talk[0] == talk[1] == judge.bos_token_id:
            talk = talk[1:]
    keys = {"general.architecture": arch, "general.name": name, **vocab.keys()}
    keys |= {f"tokenizer.ggml.{k}": v for k, v in says.items()}
    if in_file or chat:
        keys["tokenizer.chat_template"] = in_file or chat
    return {"keys": keys, "begin": begin, "talk": talk, "stops": sorted(vocab.id(t) for t in stops)}


def cases():
    llama3 = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    bpe = Bpe([vocabulary.SPLIT], last=llama3, bos="<|begin_of_text|>")
    ids = {"bos_token_id": bpe.id(llama3[0]), "eos_token_id": bpe.id(llama3[1])}
    # Names no pre-tokenizer; the template and the token that ends a turn are wrong.
    for name in ("bitnet2b", "bitnet2b_2501"):
        arch = "bitnet-b1.58" if name == "bitnet2b" else "bitnet-25"
        yield case(
            name, arch, bpe, ids | {"add_bos_token": True}, llama3[1:], BITNET, PLACEHOLDER, bos_token=llama3[0]
        )
    yield case(
        "Llama3-8B-1.58-100B-tokens", "llama", bpe, ids | {"pre": "llama-bpe"}, llama3[1:], bos_token=llama3[0]
    )

    falcon = Bpe([vocabulary.SPLIT], first=FALCON)
    end = {"eos_token_id": 11}
    for bos in ({}, {"bos_token_id": 1}, {"bos_token_id": 11}):
        yield case(
            "Falcon3-1B-Instruct-1.58bit", "llama", falcon, {"pre": "falcon3"} | end | bos, FALCON[11:], template("falcon3"),
            eos_token="<|endoftext|>",
        )  # fmt: skip
    yield case("Falcon3-7B-Base-1.58bit", "llama", falcon, {"pre": "falcon3"} | end, FALCON[11:])
    edge = Bpe([vocabulary.SPLIT], first=FALCON, last=["<|im_start|>", "<|im_end|>"])
    yield case(
        "Falcon-E-1B-Instruct", "llama", edge, {"pre": "falcon_e"} | end, ["<|im_end|>", "<|endoftext|>"], template("chatml"),
        eos_token="<|endoftext|>",
    )  # fmt: skip

    neox = Bpe([NEOX_SPLIT], first=["<|endoftext|>", "<|padding|>"], nfc=True)
    yield case(
        "TriLM_3.9B_Unpacked", "llama", neox, {"pre": "olmo", "bos_token_id": 0, "eos_token_id": 0}, ["<|endoftext|>"],
        bos_token="<|endoftext|>", eos_token="<|endoftext|>",
    )  # fmt: skip

    old = Spm()
    yield case("bitnet_b1_58-large", "bitnet", old, {"bos_token_id": 1, "eos_token_id": 2}, ["</s>"])

    qwen = Bpe([QWEN_SPLIT], last=["<|endoftext|>", "<|im_start|>", "<|im_end|>"], nfc=True)
    says = {"pre": "qwen2", "bos_token_id": qwen.id("<|endoftext|>"), "eos_token_id": qwen.id("<|im_end|>")}
    yield case(
        "Ternary-Bonsai-1.7B", "qwen3", qwen, says | {"add_bos_token": False}, ["<|im_end|>", "<|endoftext|>"],
        template("chatml"), eos_token="<|im_end|>",
    )  # fmt: skip

    cpm = Spm(control=["<|im_start|>", "<|im_end|>"])
    yield case(
        "BitCPM-CANN-1B", "minicpm", cpm, {"bos_token_id": 1, "eos_token_id": 2, "add_bos_token": True}, ["</s>", "<|im_end|>"],
        template("chatml"), additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    )  # fmt: skip

    hy = ["<｜hy_begin▁of▁sentence｜>", "<｜hy_User｜>", "<｜hy_Assistant｜>"]
    hy += [f"<｜hy_place▁holder▁no▁{n}｜>" for n in (2, 3, 8)]
    tencent = Bpe(DEEPSEEK, last=hy)
    says = {"pre": "hunyuan-dense", "bos_token_id": tencent.id(hy[0]), "eos_token_id": tencent.id(hy[3])}
    yield case(
        "Hy-MT1.5-1.8B", "hunyuan-dense", tencent, says, hy[3:4], template("hunyuan"), bos_token=hy[0], eos_token=hy[3]
    )


def main():
    every = list(cases())
    for each in every:
        print(each["keys"]["general.name"], each["begin"][:3], (each["talk"] or [])[:3], each["stops"])
    (HERE / "chats.json").write_text(json.dumps(every, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
