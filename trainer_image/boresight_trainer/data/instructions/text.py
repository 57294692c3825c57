"""Reading text the way a person would: Markdown, curly quotes, odd spaces and Unicode forms do not change a verdict."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_SAME = str.maketrans(
    {
        "“": '"', "”": '"', "„": '"', "‟": '"', "«": '"', "»": '"', "＂": '"',
        "‘": "'", "’": "'", "‚": "'", "‛": "'", "＇": "'", "`": "'",
        "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "−": "-",
        "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\t": " ",
        "\u200b": "", "\u200c": "", "\u200d": "", "\u2060": "", "\ufeff": "",
        "，": ",", "、": ",", "！": "!", "？": "?", "。": ".",
    }
)  # fmt: skip
_STARS = re.compile(r"(\*\*\*|\*\*|\*|~~)(?=\S)(.+?)(?<=\S)\1", re.DOTALL)
_UNDERSCORES = re.compile(r"(?<!\w)(___|__|_)(?=\S)(.+?)(?<=\S)\1(?!\w)", re.DOTALL)
_BULLET = re.compile(r"^ *[-*•+] +(?=\S)")
_NUMBER = re.compile(r"^ *\d{1,3}[.)] +(?=\S)")
_HEADING = re.compile(r"^ *#{1,6} +(?=\S)")
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_CLOSERS = "\"')]}*_"
_ABBREVIATIONS = """
mr. mrs. ms. dr. prof. st. vs. e.g. i.e. etc. no. approx. ca. jr. sr. u.s. u.k. a.m. p.m. p.s.
"""
_NEVER_NAMES = """
the a an it its this that these those they their there here he she we you our your in on at as by for from with of to
some many most every each one two when while if although because where what who how
"""


def plain(text: str) -> str:
    """``text`` in one spelling: NFC, straight quotes, plain hyphens and spaces, nothing invisible, ends stripped."""
    lines = unicodedata.normalize("NFC", text).translate(_SAME).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.rstrip() for line in lines).strip()


def without_emphasis(text: str) -> str:
    """``text`` without the marks of Markdown's bold, italics and strike-through."""
    previous = None
    while previous != text:
        previous, text = text, _UNDERSCORES.sub(r"\2", _STARS.sub(r"\2", text))
    return text


def prose(text: str) -> str:
    """Plain text without Markdown: emphasis, headings' and list items' marks are gone, line breaks stay."""
    lines = without_emphasis(plain(text)).split("\n")
    return "\n".join(_HEADING.sub("", _NUMBER.sub("", _BULLET.sub("", line))) for line in lines).strip()


def words(text: str) -> list[str]:
    """Words of the prose, as written; ``it's`` and ``well-known`` are one word each, punctuation is none."""
    return _WORD.findall(prose(text))


def same(a: str, b: str) -> bool:
    """Whether two words or phrases are equal when spelling, case and spacing do not count."""
    return fold(a) == fold(b)


def fold(text: str) -> str:
    """Plain text, case-folded, runs of white space as one space."""
    return " ".join(plain(text).casefold().split())


def count_word(text: str, word: str) -> int:
    """How often ``word`` (or phrase) occurs as whole words, in any case."""
    pattern = r"(?<!\w)" + re.escape(fold(word)) + r"(?!\w)"
    return len(re.findall(pattern, fold(prose(text))))


def sentences(text: str) -> list[str]:
    """Sentences of the prose. A line break ends a sentence; abbreviations, initials and decimals do not."""
    found: list[str] = []
    for line in prose(text).split("\n"):
        current: list[str] = []
        for token in line.split():
            current.append(token)
            bare = token.rstrip(_CLOSERS)
            if (
                bare.endswith((".", "!", "?", "…"))
                and bare.casefold() not in _ABBREVIATIONS.split()
                and not _initial(bare)
            ):
                found.append(" ".join(current))
                current = []
        if current:
            found.append(" ".join(current))
    return [sentence for sentence in found if _WORD.search(sentence)]


def _initial(token: str) -> bool:
    return len(token) == 2 and token[0].isupper() and token[0] != "I" and token[1] == "."


def bullets(text: str) -> list[str]:
    """Items of bulleted lists (``-``, ``*``, ``•`` or ``+``), without their marks."""
    return [_BULLET.sub("", line) for line in plain(text).split("\n") if _BULLET.match(line)]


def numbered(text: str) -> list[str]:
    """Items of numbered lists (``1.`` or ``1)``), without their marks."""
    return [_NUMBER.sub("", line) for line in plain(text).split("\n") if _NUMBER.match(line)]


def paragraphs(text: str) -> list[str]:
    """Blocks of text separated by blank lines."""
    return [block.strip() for block in re.split(r"\n\s*\n", plain(text)) if block.strip()]


def unfenced(text: str) -> str:
    """What is inside a code fence when the whole answer is one, else the plain answer."""
    match = re.fullmatch(r"(?:'''|```)[\w-]*\n(.*?)\n?(?:'''|```)", plain(text), re.DOTALL)
    return match.group(1).strip() if match else plain(text)


def without_end_mark(text: str) -> str:
    """Plain text without its closing punctuation, so that words can follow."""
    return plain(text).rstrip(_CLOSERS + ".!?…,;: ")


def lower_first(text: str) -> str:
    """``text`` ready to stand inside a sentence: its first word in lower case if that is surely no name."""
    first = text.split(maxsplit=1)[0] if text.split() else ""
    return text[0].lower() + text[1:] if first.lower() in _NEVER_NAMES.split() else text


def upper_first(text: str) -> str:
    """``text`` with a capital at the start."""
    return text[:1].upper() + text[1:]


def unquoted(text: str) -> str:
    """Plain text without a pair of double quotes around all of it, and without stray ones inside."""
    return plain(text).replace('"', "").strip()


def snippet(text: str, limit: int = 4) -> str:
    """The first ``limit`` words, quoted, as a critique cites them."""
    parts = unquoted(text).split()
    return '"' + " ".join(parts[:limit]) + ("..." if len(parts) > limit else "") + '"'


def longest_words(text: str, count: int) -> list[str]:
    """The ``count`` longest different words, longest first, earlier ones first among equals."""
    different = list(dict.fromkeys(words(text)))
    return sorted(different, key=lambda word: -len(word))[:count]


def article(noun: str) -> str:
    """``noun`` with its indefinite article."""
    return ("an " if noun[:1].lower() in "aeiou" else "a ") + noun


def plural(count: int, noun: str) -> str:
    """``1 word``, ``2 words``, ``no words``."""
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def numbers(text: str) -> list[int]:
    """Whole numbers of the prose in order, in digits or, up to ten, in words."""
    found = []
    for token in re.findall(r"-?\d[\d,]*|[a-z]+", fold(prose(text))):
        if not token.isalpha():
            found.append(int(token.replace(",", "")))
        elif token in _NUMBER_WORDS:
            found.append(_NUMBER_WORDS.index(token))
    return found


def number_word(number: int) -> str:
    """``number`` in words where :func:`numbers` reads words, else in digits."""
    return _NUMBER_WORDS[number] if 0 <= number < len(_NUMBER_WORDS) else str(number)


def listing(items: Sequence[str], conjunction: str) -> str:
    """``a, b or c``."""
    return f" {conjunction} ".join(filter(None, (", ".join(items[:-1]), *items[-1:])))
