"""The console: what it prints is text, whatever the names in a stranger's file are made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from farreach.results.storage.sanitising import clean_text


class Screen(Console):
    """A console that obeys no character of a text, and takes no word between colons for a picture."""

    def __init__(self, *, file: IO[str] | None = None, width: int | None = None) -> None:
        super().__init__(file=file, width=width, highlight=False, soft_wrap=True, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Return what is printed, clean; what rich itself tells the terminal is apart from the texts, and stays."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=clean_text(segment.text))
