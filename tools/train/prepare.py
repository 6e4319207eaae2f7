#!/usr/bin/env python3
"""Makes the tokenizer and the token files that train.py reads.

    prepare.py --data DIR --out DIR

Reads DIR/tinystories_{train,val}.txt and DIR/books_children.txt (documents separated by a line
`<|endoftext|>`), trains a byte-level BPE of 4096 tokens with the GPT-2 splitting expression, and
writes tokenizer.json and, as little-endian uint16, stories.bin, books.bin, chats.bin (requests
answered by the stories, see story_requests.py), val.bin and val_chats.bin. Every document begins
with token 0, `<|endoftext|>`, which so serves as beginning and as end of text; in a conversation
token 1, `<|user|>`, begins a request, and token 2, `<|assistant|>`, the answer.
requests_val.jsonl has held-out requests with the words that their answers should contain.

Needs the PyPI packages `tokenizers` and `numpy`.
"""

import argparse
import json
import pathlib
import re

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import story_requests

END_OF_TEXT, USER, ASSISTANT = SPECIAL_TOKENS = ["<|endoftext|>", "<|user|>", "<|assistant|>"]
VOCAB_SIZE = 4096


def read_documents(path):
    text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
    return [d.strip() for d in text.split(END_OF_TEXT) if d.strip()]


def book_chapters(book):
    """Cuts a book at its headings and drops what is not prose (headings, rules, short lines)."""
    chapters = []
    for part in re.split(r"(?m)^#+ .*$|^-{3,}$", book):
        part = part.replace("_", "").replace("*", "")
        for curly, plain in (("\u2018", "'"), ("\u2019", "'"), ("\u201c", '"'), ("\u201d", '"')):
            part = part.replace(curly, plain)
        part = re.sub(r"\n\s*\n", "\n", part)  # paragraphs as in the stories: one line each
        if len(part) >= 1000:
            chapters.append(part.strip())
    return chapters


def train_tokenizer(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=SPECIAL_TOKENS,  # ids 0, 1, 2
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),  # all 256 bytes
    )
    tokenizer.train_from_iterator(texts, trainer)
    assert tokenizer.get_vocab_size() == VOCAB_SIZE and tokenizer.token_to_id(END_OF_TEXT) == 0
    return tokenizer


def encode_all(tokenizer, documents, path):
    ids = []
    for encoding in tokenizer.encode_batch(documents):
        ids.append(0)
        ids.extend(encoding.ids)
    np.array(ids, dtype="<u2").tofile(path)
    text_bytes = sum(len(d.encode()) for d in documents)
    print(f"{path.name}: {len(documents)} documents, {len(ids)} tokens, "
          f"{text_bytes / len(ids):.2f} bytes a token")


def conversations(stories, frequencies, count, variants, seed):
    """`variants` conversations a story, shuffled, as texts with their special tokens spelled out."""
    rng = np.random.default_rng(seed)
    texts = []
    for story in stories:
        facts = story_requests.facts_of(story, frequencies, count)
        for _ in range(variants):
            turns = story_requests.conversation(story, facts, rng)
            texts.append(END_OF_TEXT.join(f"{USER}{user}{ASSISTANT}{answer}"
                                          for user, answer in turns))
    return [texts[i] for i in rng.permutation(len(texts))]


def write_held_out_requests(stories, frequencies, count, path, seed):
    """One request a line: {"request": ..., "wanted": [words that the answer should contain]}."""
    rng = np.random.default_rng(seed)
    with open(path, "w", encoding="utf-8") as out:
        for story in stories:
            facts = story_requests.facts_of(story, frequencies, count)
            form = story_requests.with_words if rng.random() < 0.3 else story_requests.about
            made = form(facts, rng)
            if made and made[1]:
                out.write(json.dumps({"request": made[0] + ".", "wanted": made[1]}) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--variants", type=int, default=4, help="conversations made of each story")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    stories = read_documents(args.data / "tinystories_train.txt")
    held_out = read_documents(args.data / "tinystories_val.txt")
    books = [c for b in read_documents(args.data / "books_children.txt") for c in book_chapters(b)]
    frequencies = story_requests.document_frequencies(stories)
    count = len(stories)
    # The stories are what the model is for: let the books weigh about as much, not twice.
    tokenizer = train_tokenizer(stories + books[::3])
    tokenizer.save(str(args.out / "tokenizer.json"))
    encode_all(tokenizer, stories, args.out / "stories.bin")
    encode_all(tokenizer, books, args.out / "books.bin")
    encode_all(tokenizer, held_out, args.out / "val.bin")
    chats = conversations(stories, frequencies, count, args.variants, args.seed)
    encode_all(tokenizer, chats, args.out / "chats.bin")
    chats = conversations(held_out, frequencies, count, 1, args.seed + 1)
    encode_all(tokenizer, chats, args.out / "val_chats.bin")
    write_held_out_requests(held_out, frequencies, count, args.out / "requests_val.jsonl",
                            args.seed + 2)


if __name__ == "__main__":
    main()
