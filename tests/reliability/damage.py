"""Damage: bytes and text made from good ones by a random generator, so that a seed gives the same input for ever."""

from __future__ import annotations

import random
from collections.abc import Sequence

__all__ = ["damaged", "damaged_text", "exchanged", "words"]

_BYTES = (0, 1, 2, 3, 4, 7, 8, 9, 10, 0x20, 0x25, 0x2D, 0x3A, 0x7F, 0x80, 0xFE, 0xFF)
#: characters of a repeated piece: again and again the longest would not fit into the memory of a run
_LONGEST = 1 << 20
_NUMBERS = (
    "0", "1", "-1", "255", "4095", "32768", "65536", "2147483648", "4294967295", "9223372036854775808",
    "18446744073709551615", "18446744073709551616", "0x", "0xffffffffffffffff", "1e9", "9" * 40,
)  # fmt: skip
_TEXT = ("", "\0", "\n", "\t", " ", "\r", "\x1b[2J", "\u202e", "\udcff", "\u00e9", "%s", "{}", "'", '"', "\\", "(", ")",
         "[", "]", "{", "}", ";", ",", ":", "/", "*", "<", ">", "=", "$", "@", "#")  # fmt: skip
_AROUND = (("(", ")"), ("[", "]"), ("{", "}"), ("-", ""), ("!", ""), ("not ", ""), ("*", ""))


def damaged(rng: random.Random, good: bytes) -> bytes:
    """A blob with a few bytes changed, words of it replaced, cut out, repeated or cut off."""
    data = bytearray(good)
    for _ in range(rng.choice((1, 1, 2, 3, 8, 30))):
        if not data:
            break
        at = rng.randrange(min(len(data), 64)) if rng.random() < 0.2 else rng.randrange(len(data))
        how = rng.random()
        if how < 0.45:
            data[at] = rng.choice(_BYTES) if rng.random() < 0.7 else rng.randrange(256)
        elif how < 0.6:
            data[at] ^= 1 << rng.randrange(8)
        elif how < 0.8:
            size = rng.choice((2, 4, 8))
            value = rng.choice((0, 1, size, len(data), len(data) - 1, (1 << 8 * size) - 1, 1 << 8 * size - 1))
            data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, "little")
        elif how < 0.88:
            del data[at : at + rng.choice((1, 2, 4, 8, 16))]
        elif how < 0.96:
            data[at:at] = data[rng.randrange(len(data)) :][: rng.choice((1, 4, 8, 16, 64))]
        else:
            del data[at:]
    return bytes(data)


def words(text: str) -> list[str]:
    """The pieces that text is put together of: names, numbers, single other characters."""
    found, word = [], ""
    for each in text:
        if each.isalnum() or each == "_":
            word += each
            continue
        if word:
            found.append(word)
        word = ""
        found.append(each)
    return [*found, word] if word else found


def damaged_text(rng: random.Random, good: Sequence[str], others: Sequence[str] = ()) -> str:
    """Text with a few of its pieces replaced, dropped, doubled, moved, nested, or taken from other texts.

    :param good: the pieces.
    :param others: more pieces to put in.
    """
    pieces = list(good)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        if not pieces:
            break
        at = rng.randrange(len(pieces))
        how = rng.random()
        if how < 0.25:
            pieces[at] = rng.choice(others or good)
        elif how < 0.4:
            pieces[at] = rng.choice(_NUMBERS if rng.random() < 0.5 else _TEXT)
        elif how < 0.55:
            del pieces[at : at + rng.choice((1, 1, 2, 5))]
        elif how < 0.7:
            other = rng.randrange(len(pieces))
            pieces[at], pieces[other] = pieces[other], pieces[at]
        elif how < 0.85:
            pieces[at:at] = pieces[rng.randrange(len(pieces)) :][: rng.choice((1, 2, 5, 20))]
        elif how < 0.9:
            pieces[at] *= min(rng.choice((2, 10, 1000)), 1 + _LONGEST // max(1, len(pieces[at])))
        elif how < 0.95:
            count = rng.choice((3, 40, 400, 3000))
            first, last = rng.choice(_AROUND)
            pieces[at] = first * count + pieces[at] + last * count
        else:
            del pieces[at:]
    return "".join(pieces)


def exchanged(rng: random.Random, good: Sequence[str], others: Sequence[str]) -> str:
    """Text in which names and numbers stand where other names and numbers stood: most of it still parses.

    :param others: names and numbers to put in; other pieces of it are not taken.
    """
    pieces = list(good)
    places = [at for at, piece in enumerate(pieces) if piece[0].isalnum() or piece[0] == "_"]
    for _ in range(rng.choice((1, 1, 2, 3, 5))):
        at = rng.choice(places)
        if pieces[at].isdigit() and rng.random() < 0.5:
            pieces[at] = rng.choice(_NUMBERS)
        else:
            other = rng.choice(others)
            pieces[at] = other if other[0].isalnum() or other[0] == "_" else pieces[rng.choice(places)]
    return "".join(pieces)
