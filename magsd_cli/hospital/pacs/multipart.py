"""The one part of a multipart/related answer, by which WADO-RS sends an image (DICOM PS3.18, 8.6.1.2)."""

from __future__ import annotations

import re
from email.message import Message

MEDIA = "multipart/related"
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{1,70}")


class BrokenMultipart(Exception):  # noqa: N818 (a state, and the word for it)
    """An answer that is not what WADO-RS sends."""


def only_part(body: bytes, content_type: str) -> bytes:
    """The content of the one part of `body`. Raises `BrokenMultipart` where it is not whole, or not one.

    A body that ends before its closing boundary is not whole, however much of the image is there.
    """
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_param("boundary")
    if header.get_content_type() != MEDIA or not isinstance(boundary, str):
        raise BrokenMultipart("the response is not a multipart/related message")
    if not _BOUNDARY.fullmatch(boundary):
        raise BrokenMultipart("the response's boundary is invalid")
    mark = b"--" + boundary.encode()
    start = 0 if body.startswith(mark) else body.find(b"\r\n" + mark)
    head_end = body.find(b"\r\n\r\n", start)
    end = body.find(b"\r\n" + mark, head_end + 2)
    if min(start, head_end, end) < 0:
        raise BrokenMultipart("the response ends before its last boundary")
    following = body[end + 2 + len(mark) : end + 4 + len(mark)]
    if following != b"--":
        raise BrokenMultipart("the response has several parts, or ends before its last boundary")
    return body[head_end + 4 : end]
