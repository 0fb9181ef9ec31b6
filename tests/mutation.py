"""The mutation engine for the parsers in Python: takes a stored sample and damages it as a generator says.

The samples are in `tests/corpus`, a folder for each kind; crates/oss-client/tests/corpus does the same for the parsers
in Rust, in the same ways.
"""

from __future__ import annotations

import re
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"

# What parsers find hard, whatever they parse.
HARD = [
    b"",
    b"\0",
    b"\r\n",
    b"\n",
    b" ",
    b"\t",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"\\u0000",
    b"-1",
    b"1e999",
    b"NaN",
    b"null",
    b"true",
    b"../",
    b"://",
    b'"',
    b"'",
    b"{",
    b"[",
    b":",
    b",",
    b"=",
    b".",
    b"9" * 5000,
]
# Where numbers go wrong.
NUMBERS = [0, 1, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1, 10**400]
# An input never grows beyond this.
MOST_BYTES = 256 * 1024


class Corpus:
    """The samples of one kind, and the words that occur in them."""

    def __init__(self, kind):
        paths = sorted((CORPUS / kind).iterdir())
        self.samples = [path.read_bytes() for path in paths]
        assert self.samples, "a corpus without a sample proves nothing"
        words = {word for sample in self.samples for word in re.findall(rb"[\w-]{2,40}", sample)}
        self.words = [*sorted(words), *HARD]

    def damaged(self, dice):
        """Return one sample, damaged one to six times.

        Args:
            dice: a `random.Random`; equal ones give equal damage.
        """
        octets = bytearray(dice.choice(self.samples))
        for _ in range(dice.randint(1, 6)):
            self._damage(octets, dice)
            del octets[MOST_BYTES:]
        return bytes(octets)

    def _damage(self, octets, dice):  # noqa: C901  (a table of kinds of damage)
        at = dice.randint(0, len(octets))
        end = min(at + dice.randint(0, 40), len(octets))
        kind = dice.randrange(11)
        if kind == 0 and at < len(octets):
            octets[at] ^= 1 << dice.randrange(8)
        elif kind == 1 and at < len(octets):
            octets[at] = dice.randrange(256)
        elif kind == 2:
            octets[at:at] = dice.choice(self.words)
        elif kind == 3:
            octets[at:end] = dice.choice(self.words)
        elif kind == 4:
            del octets[at:end]
        elif kind == 5:
            piece = bytes(octets[at:end])
            octets[at:at] = piece * min(dice.choice([1, 3, 40, 100_000]), MOST_BYTES // max(len(piece), 1))
        elif kind == 6:
            del octets[at:]
        elif kind == 7:
            other = dice.choice(self.samples)
            octets[at:] = other[dice.randint(0, len(other)) :]
        elif kind == 8:
            _replace_number(octets, at, dice)
        elif kind == 9:
            width = dice.choice([1, 2, 4, 8])
            octets[at : at + width] = (dice.choice(NUMBERS) % 2 ** (8 * width)).to_bytes(width, "little")
        else:
            octets[at:end] = octets[at:end].swapcase()


def _replace_number(octets, at, dice):
    """Put another number in place of the next one that is written in digits."""
    found = re.compile(rb"\d+").search(octets, at)
    if found:
        octets[slice(*found.span())] = b"%d" % dice.choice(NUMBERS)
