"""Query parameters as Docker reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidock.server.failures import HttpError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FALSE = ("", "0", "no", "false", "none")


class Query:
    """The parameters of one request; of several with one name the first counts, unless all are asked for."""

    def __init__(self, text: str) -> None:
        """Raises HttpError (400) for what cannot be read."""
        self._values: dict[str, list[str]] = {}
        if not text:
            return
        from urllib.parse import parse_qs

        try:
            self._values = parse_qs(text, keep_blank_values=True, max_num_fields=1000, errors="strict")
        except ValueError:
            raise HttpError(400, "the query cannot be read") from None

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str, default: str = "") -> str:
        """Return a parameter; ``default`` if it is not there."""
        return self._values.get(name, [default])[0]

    def all(self, name: str) -> list[str]:
        """Return all values of a parameter."""
        return self._values.get(name, [])

    def flag(self, name: str, default: bool = False) -> bool:
        """Return whether a parameter is set: anything but nothing, 0, no, false and none."""
        if name not in self._values:
            return default
        return self.text(name).strip().lower() not in _FALSE

    def number(self, name: str) -> int | None:
        """Return a whole number; None if there is none. Raises HttpError (400)."""
        text = self.text(name).strip()
        if not text:
            return None
        digits = text[1:] if text[0] in "+-" else text
        if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
            raise HttpError(400, f'strconv.Atoi: parsing "{text[:60]}": invalid syntax')
        return int(text)

    def filters(self, name: str = "filters") -> Mapping[str, Any] | None:
        """Return the JSON of ``filters``, each a list of values. Raises HttpError (400)."""
        text = self.text(name)
        if not text:
            return None
        import msgspec

        try:
            found = msgspec.json.decode(text, type=dict[str, list[str] | dict[str, bool] | None] | None)
        except (msgspec.DecodeError, RecursionError):
            raise HttpError(400, "invalid filter") from None
        if found is None:
            return None
        # Before API 1.22: {"name": {"value": true}}
        return {key: [one for one in values if not isinstance(values, dict) or values[one]]
                for key, values in found.items() if values is not None}  # fmt: skip
