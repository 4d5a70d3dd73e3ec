"""Text cut where one of some strings begins, as it comes.

Knows: text. Does not know: tokens, replies.
"""

from collections.abc import Sequence


class StopStrings:
    """Passes text on up to the first of `stops` in it; what may yet turn out to begin one is held back."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.found: str | None = None

    def feed(self, text: str) -> str:
        """Read more text and return what can be said now; nothing once a stop string was found."""
        if self.found is not None:
            return ""
        text = self._held + text
        places = [(text.find(stop), stop) for stop in self._stops if stop in text]
        if places:
            place, self.found = min(places)
            self._held = ""
            return text[:place]
        longest = max(map(len, self._stops), default=1) - 1
        for start in range(max(0, len(text) - longest), len(text)):
            if any(stop.startswith(text[start:]) for stop in self._stops):
                self._held = text[start:]
                return text[:start]
        self._held = ""
        return text

    def finish(self) -> str:
        """Say that no more text comes, and return what was held back."""
        held, self._held = self._held, ""
        return held
