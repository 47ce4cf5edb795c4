"""A CLIP-format byte-pair tokenizer of pocket size: any text encodes, every word of the world is one token."""

import gzip
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import open_clip
from transformers import CLIPTokenizer

from pocket.world import BACKGROUNDS, DOMAINS

CONTEXT_LENGTH = 24
WORD_END = "</w>"


def _byte_symbols() -> list[str]:
    """The 256 printable stand-ins that byte-level BPE uses, in CLIP's order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]


def _merge_once(symbols: list[str], ranks: dict[tuple[str, str], int]) -> list[str] | None:
    pairs = [(ranks[pair], i) for i, pair in enumerate(pairwise(symbols)) if pair in ranks]
    if not pairs:
        return None
    _, i = min(pairs)
    return [*symbols[:i], symbols[i] + symbols[i + 1], *symbols[i + 2 :]]


def build_tokenizer(words: list[str], folder: Path, official_merges: int = 600) -> CLIPTokenizer:
    """CLIP's own first merges, then as many more as make each of ``words`` a single token; saved to ``folder``.

    Two tokens close the vocabulary: start of text, and end of text that is the padding too (Stable Diffusion's habit).
    """
    vocabulary_file = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    text = gzip.decompress(vocabulary_file.read_bytes()).decode()
    merges = [(a, b) for a, b in (line.split() for line in text.split("\n")[1 : official_merges + 1])]
    ranks = {pair: i for i, pair in enumerate(merges)}
    for word in sorted({w for phrase in words for w in phrase.lower().split()}):
        symbols = [*word[:-1], word[-1] + WORD_END]
        while len(symbols) > 1:
            shorter = _merge_once(symbols, ranks)
            if shorter is None:
                pair = (symbols[-2], symbols[-1])
                ranks[pair] = len(merges)
                merges.append(pair)
                shorter = [*symbols[:-2], symbols[-2] + symbols[-1]]
            symbols = shorter
    alphabet = _byte_symbols()
    tokens = [*alphabet, *(s + WORD_END for s in alphabet), *("".join(pair) for pair in merges)]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(p) for p in merges) + "\n")
    tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=CONTEXT_LENGTH, pad_token="<|endoftext|>")
    tokenizer.save_pretrained(folder)
    return tokenizer


def build_world_tokenizer(objects: Sequence[str], folder: Path) -> CLIPTokenizer:
    """The tokenizer of a world: its objects, domains, backgrounds and the words of its captions are single tokens."""
    return build_tokenizer([*objects, *BACKGROUNDS, *DOMAINS, "an image of a picture and next to with"], folder)
