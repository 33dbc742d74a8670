"""The reason why an input cannot be used: a code for machines, words for people."""

from __future__ import annotations


class DecodeError(Exception):
    """An input that is not one usable grayscale picture.

    `code` is one of the codes of ``docs/data.md`` (``not_image``, ``truncated``, ...); `reason` never holds
    text from a header. `sha256` is the content's hash and `content` the content, where it could be read.
    """

    def __init__(self, code: str, reason: str, sha256: str = "", content: bytes = b"") -> None:
        super().__init__(code, reason, sha256)  # not the content: it would be printed with a traceback
        self.code, self.reason, self.sha256, self.content = code, reason, sha256, content

    def __str__(self) -> str:
        return self.reason
