"""The gallery of single cases: which of the tested images it holds, and their small pictures."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from magsd_cli.reporting.document import Block, Gallery, Heading, Paragraph
from magsd_cli.reporting.overlays import heated

MOST = 200  # cases: a page of about 2 MB, which opens on a phone
SIDE = 144  # pixels of a thumbnail
QUALITY = 80

RULE = (
    "Images that were called wrong stand first, then those called right, each from the surest to the least "
    "sure. Left: the image as prepared for the network. Right: the same with the attention of the network "
    "that was not trained on it, scaled to its own maximum, which shows where the network looked and not "
    "where disease is."
)


def gallery_rows(
    right: npt.NDArray[np.bool_],
    confidence: npt.NDArray[np.float64],
    image_ids: Sequence[str],
    most: int = MOST,
) -> list[int]:
    """Rows of the `most` cases to show: errors first, then by confidence; ties by image id. All are [N].

    Half of the places are kept for images that were called right, where there are so many.
    """
    order = sorted(range(len(right)), key=lambda i: (bool(right[i]), -float(confidence[i]), image_ids[i]))
    wrong = [row for row in order if not right[row]]
    called_right = order[len(wrong) :]
    kept = max(most - len(called_right), most - most // 2)
    return (wrong[:kept] + called_right)[:most]


def thumbnail(pixels: npt.NDArray[np.uint8], attention: npt.NDArray[np.float32] | None) -> bytes:
    """A JPEG of the image [S,S], with `attention` [h,w] over a second one beside it where there is any."""
    gray = np.asarray(cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    picture = np.repeat(gray[..., None], 3, axis=2)
    if attention is not None:
        low, high = float(attention.min()), float(attention.max())
        scaled = (attention - low) / max(high - low, 1e-12)
        wide = np.asarray(cv2.resize(scaled, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.float32)
        picture = np.concatenate([picture, heated(gray, wide)], axis=1)
    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    return data.tobytes()


def gallery_section(gallery: Gallery) -> list[Block]:
    """The section of the gallery."""
    return [Heading("Case gallery"), Paragraph(RULE), gallery]
