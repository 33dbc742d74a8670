"""Charts as part of an HTML page: their colours follow the page's style, light, dark or printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from xml.etree import ElementTree

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_KEPT = {"g", "defs", "path", "use", "clipPath", "rect", "image"}  # what charts are made of
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def inline_svg(svg: bytes, name: str, label: str, style: str = "") -> str:
    """A chart's SVG file as an element of an HTML page; `label` stands for it where it cannot be seen.

    A colour such as #0072b2 becomes ``var(--c-0072b2, #0072b2)``, so that a style sheet can give it another
    value. `name`, one of its own for each chart of the page, begins the ids inside. Comments, metadata, style
    sheets and scripts are left out. `style`: CSS of the element.
    """
    root = ElementTree.fromstring(svg)  # noqa: S314 - of our own charts, without entities
    used = {reference for element in root.iter() for reference in _references(element)}
    body = "".join(_element(child, name, used) for child in root)
    box = escape(root.get("viewBox", ""))
    return (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="{box}" style="{escape(style)}">{body}</svg>'
    )


def _references(element: ElementTree.Element) -> Iterator[str]:
    for value in element.attrib.values():
        if value.startswith("#"):
            yield value[1:]
        yield from _REFERENCE.findall(value)


def _element(element: ElementTree.Element, name: str, used: set[str]) -> str:
    tag = element.tag.removeprefix(_SVG)
    if tag not in _KEPT:
        return ""
    inside = "".join(_element(child, name, used) for child in element)
    attributes = "".join(_attribute(key, value, name, used) for key, value in element.attrib.items())
    return f"<{tag}{attributes}>{inside}</{tag}>"


def _attribute(key: str, value: str, name: str, used: set[str]) -> str:
    if key == "id":
        return f' id="{escape(f"{name}-{value}")}"' if value in used else ""
    if key == _HREF:
        key, value = "href", f"#{name}-{value[1:]}" if value.startswith("#") else value
    elif key == "style":
        value = _COLOUR.sub(lambda found: f"var(--c-{found.group()[1:]}, {found.group()})", value)
    value = _REFERENCE.sub(rf"url(#{name}-\1)", " ".join(value.split()))
    return f' {key}="{escape(value)}"'
