"""Text in figures that comes from users, such as names of classes: its fonts, and its length."""

import contextlib
import logging
import unicodedata
import warnings
from collections.abc import Iterable, Iterator

import matplotlib.style
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font

from jsep.report.figures import RC

_USUAL = "DejaVu Sans"  # comes with Matplotlib; has Latin, Greek, Cyrillic, Arabic, not Chinese, Japanese or Korean
_BOXES = "Last Resort"  # fonts that have a box for every character


@contextlib.contextmanager
def drawing(texts: Iterable[str]) -> Iterator[None]:
    """Draw in the style of all our figures, with fonts that have the characters of some texts.

    Characters that no installed font has are drawn as boxes, without a warning for each.

    Args:
        texts: whatever is written into the figure.
    """
    style = {**RC, "font.family": [_USUAL, *_more_fonts(set("".join(texts)))]}
    # the "default" style keeps a user's own matplotlibrc from changing the figures
    with matplotlib.style.context(["default", style]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        logger = logging.getLogger("matplotlib.font_manager")  # tells of each font that has no bold letters
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def _more_fonts(characters: set[str]) -> list[str]:
    """Return the installed fonts that together have the characters that the usual font lacks, as far as any has."""
    codes, found = {ord(character) for character in characters}, []
    fonts = [font for font in fontManager.ttflist if not font.name.startswith(_BOXES)]
    fonts.sort(key=lambda font: (font.name != _USUAL, font.weight != 400, font.name))
    for font in fonts:
        if not codes:
            break
        try:
            has = FT2Font(font.fname).get_charmap().keys()
        except (OSError, RuntimeError):  # it was removed since Matplotlib listed it, or is damaged
            continue
        if codes & has and font.name != _USUAL:
            found.append(font.name)
        codes -= has
    return found


def width(text: str) -> int:
    """Return how many letters of Latin a text is as wide as: Chinese, Japanese and Korean ones count twice.

    >>> width("cat"), width("貓")
    (3, 2)
    """
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)


def shortened(text: str, most: int) -> str:
    """Return a text on one line, with its middle cut out if it is wider than `most` letters.

    >>> shortened("a very long name of a class", 15)
    'a very …a class'
    """
    text = " ".join(text.split())
    if width(text) <= most:
        return text
    letters, left = list(text), most - 1
    head, tail = "", ""
    while letters:  # from both ends in turn
        front = width(head) <= width(tail)
        letter = letters.pop(0 if front else -1)
        left -= width(letter)
        if left < 0:
            break
        head, tail = (head + letter, tail) if front else (head, letter + tail)
    return f"{head}…{tail}"
