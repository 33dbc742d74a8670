"""DICOM pixel data as stored: which transfer syntax, which codec, and the words or colours that it gives.

What compressed pixels are is told by their first bytes; the header is asked only where they do not tell.
"""

from __future__ import annotations

import contextlib
import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import uid
from pydicom.encaps import encapsulate, generate_fragmented_frames, generate_frames
from pydicom.pixels.decoders.base import get_decoder

from magsd_cli.data.decode_error import DecodeError
from magsd_cli.data.dicom.codestream import END_OF_JPEG, J2K, JP2, JPEG, Stream, sniff
from magsd_cli.data.dicom.fields import integer, is_big_endian, keyword, text

Words = npt.NDArray[Any]

# Packages for what python-gdcm does not decode.
PACKAGES = {
    uid.JPEGExtended12Bit: "pylibjpeg pylibjpeg-libjpeg",
    **dict.fromkeys((uid.HTJ2K, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL), "pylibjpeg pylibjpeg-openjpeg"),
}
ITEM, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
FAMILIES = (
    frozenset((uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)),
    frozenset((uid.JPEGLossless, uid.JPEGLosslessSV1)),
    frozenset((uid.JPEGLSLossless, uid.JPEGLSNearLossless)),
    frozenset((uid.JPEG2000, uid.JPEG2000Lossless, uid.JPEG2000MC, uid.JPEG2000MCLossless)),
    frozenset((uid.HTJ2K, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL)),
    frozenset((uid.RLELossless,)),
)


@dataclass(frozen=True)
class Pixeldata:
    """Decoded pixel data: `samples` unsigned words [H,W], or uint8 colours [H,W,3] of the space `colours`.

    `bits` are those of a compressed picture's samples, 0 where nothing but the header tells.
    """

    samples: Words
    colours: str = ""
    bits: int = 0


def read_pixels(dataset: Any, warnings: list[str]) -> Pixeldata:
    """Decode the first frame. `warnings` is added to. Raises `DecodeError`."""
    stream = _choose_syntax(dataset, warnings)
    syntax = dataset.file_meta.TransferSyntaxUID
    precision = stream.precision if stream else 0
    rows, columns = integer(dataset, "Rows"), integer(dataset, "Columns")
    if stream and stream.height and (stream.height, stream.width) != (rows, columns):
        raise DecodeError("corrupt", "the size of the compressed picture differs from the header")
    if stream and stream.signed and integer(dataset, "PixelRepresentation") == 0:
        warnings.append("unsigned in the header, signed in the compressed picture: read as unsigned")
    stored = integer(dataset, "BitsStored")
    if syntax.is_encapsulated or syntax.is_compressed:
        _need_codec(syntax, precision or stored)
    try:
        samples, facts = get_decoder(syntax).as_array(
            dataset, index=0, raw=True, **_options(dataset, precision)
        )
    except Exception:
        raise _pixel_error(dataset, syntax) from None
    if not syntax.is_encapsulated:
        _note_more_frames(dataset, warnings)
    if samples.shape[:2] != (rows, columns):
        raise DecodeError("corrupt", "the pixel data does not fit the header's size")
    if samples.ndim == 2:
        native = np.ascontiguousarray(samples, samples.dtype.newbyteorder("="))
        return Pixeldata(native.view(f"u{native.dtype.itemsize}"), bits=precision)
    if samples.dtype != np.uint8:
        raise DecodeError("not_grayscale", "a colour picture with more than 8 bits")
    return Pixeldata(samples, colours=str(facts["photometric_interpretation"]))


def _options(dataset: Any, precision: int) -> dict[str, Any]:
    """The header as the decoder needs it: what it lacks or gets wrong of the bits must not stop it.

    Unused bits are kept, those too that a decoder would clear by the header; `stored_values` looks at them.
    """
    allocated = integer(dataset, "BitsAllocated")
    stored = integer(dataset, "BitsStored")
    if not 1 <= stored <= allocated:
        stored = allocated
    options: dict[str, Any] = {
        "samples_per_pixel": integer(dataset, "SamplesPerPixel", 1),
        "bits_stored": precision if 0 < precision <= allocated else stored,
        "pixel_representation": min(integer(dataset, "PixelRepresentation"), 1),
        "number_of_frames": 1,
        "correct_unused_bits": False,
    }
    if options["samples_per_pixel"] == 1:
        options["photometric_interpretation"] = "MONOCHROME2"
    elif keyword(dataset, "PhotometricInterpretation").startswith(("MONOCHROME", "PALETTE")):
        options["photometric_interpretation"] = "RGB"
    elif _is_whole_422(dataset):
        options["photometric_interpretation"] = "YBR_FULL"
    if options["samples_per_pixel"] == 3:
        options["planar_configuration"] = min(integer(dataset, "PlanarConfiguration"), 1)
    return options


def _is_whole_422(dataset: Any) -> bool:
    """Return whether uncompressed pixels are called YBR_FULL_422 but have all their samples."""
    native = not uid.UID(dataset.file_meta.TransferSyntaxUID).is_encapsulated
    called = keyword(dataset, "PhotometricInterpretation") == "YBRFULL422"
    return native and called and len(dataset.PixelData) >= _expected_bytes(dataset)


def _choose_syntax(dataset: Any, warnings: list[str]) -> Stream | None:
    """Put the transfer syntax that the pixels have into `dataset`; what their first bytes say, if any do."""
    meta = getattr(dataset, "file_meta", None)
    if meta is None:
        meta = dataset.file_meta = pydicom.dataset.FileMetaDataset()
    syntax = text(meta, "TransferSyntaxUID")
    if syntax and (uid.UID(syntax).is_private or not uid.UID(syntax).is_transfer_syntax):
        raise DecodeError("missing_codec", "an unknown transfer syntax")
    native = not syntax or not uid.UID(syntax).is_encapsulated
    compressed = not native or _is_encapsulated(dataset.PixelData)
    if not compressed and _is_bare_stream(dataset):
        dataset.PixelData, compressed = encapsulate([dataset.PixelData]), True
    if not compressed:
        if not syntax:
            warnings.append("no transfer syntax in the file: read as uncompressed")
            implicit, _ = getattr(dataset, "original_encoding", (True, True))
            plain = uid.ImplicitVRLittleEndian if implicit is not False else uid.ExplicitVRLittleEndian
            meta.TransferSyntaxUID = uid.ExplicitVRBigEndian if is_big_endian(dataset) else plain
        return None
    frame = _first_frame(dataset, warnings)
    _refuse_cut_jpeg(frame)
    stream = sniff(frame)
    if native:
        if stream is None:
            raise DecodeError(
                "missing_codec", "pixels compressed in an unknown way, without a transfer syntax"
            )
        missing = "no transfer syntax in the file" if not syntax else "compressed pixels under a plain syntax"
        warnings.append(f"{missing}: read as {stream.syntax.name} by its first bytes")
        meta.TransferSyntaxUID = stream.syntax
    elif stream and any(stream.syntax in family and syntax not in family for family in FAMILIES):
        warnings.append(f"the transfer syntax does not fit the pixels: read as {stream.syntax.name}")
        meta.TransferSyntaxUID = stream.syntax
    return stream


def _first_frame(dataset: Any, warnings: list[str]) -> bytes:
    """The compressed picture; all fragments where the offset table cuts it into several frames."""
    frame = next(iter(generate_frames(dataset.PixelData, number_of_frames=1)), b"")
    if frame.startswith(JPEG) and END_OF_JPEG not in frame[-64:]:
        parts = [part for parts in generate_fragmented_frames(dataset.PixelData) for part in parts]
        joined = b"".join(parts)
        if len(parts) > 1 and joined.startswith(frame) and END_OF_JPEG in joined[-64:]:
            warnings.append("the offset table cuts the picture: its fragments were joined")
            dataset.PixelData = encapsulate([joined])
            return joined
    return frame


def _is_encapsulated(data: bytes) -> bool:
    """Return whether pixel data are a chain of items (PS3.5, A.4) rather than samples."""
    if not data.startswith(ITEM) or len(data) < 16:
        return False
    after = 8 + int.from_bytes(data[4:8], "little")
    return data[after : after + 4] in (ITEM, SEQUENCE_END)


def _is_bare_stream(dataset: Any) -> bool:
    """Return whether the pixel data are a compressed picture without the items around it."""
    data = dataset.PixelData
    if not data.startswith((b"\xff\xd8\xff", J2K, JP2)) or sniff(data) is None:
        return False
    return len(data) not in range(_expected_bytes(dataset), _expected_bytes(dataset) + 2)


def _expected_bytes(dataset: Any) -> int:
    samples = integer(dataset, "Rows") * integer(dataset, "Columns") * integer(dataset, "SamplesPerPixel", 1)
    return samples * integer(dataset, "BitsAllocated") // 8


def _need_codec(syntax: Any, bits: int) -> None:
    """Raise `DecodeError` naming the package that is missing for a compressed transfer syntax."""
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        return
    try:
        plugins = get_decoder(syntax).available_plugins
    except NotImplementedError:
        raise DecodeError("missing_codec", f"no decoder for {syntax.name}; convert the file") from None
    if syntax == uid.JPEGExtended12Bit and bits > 8:
        plugins = tuple(name for name in plugins if name == "pylibjpeg")
    if not plugins:
        package = PACKAGES.get(syntax, "python-gdcm")
        raise DecodeError("missing_codec", f"no decoder for {syntax.name} here; `pip install {package}`")
    with contextlib.suppress(ImportError):
        gdcm = importlib.import_module("gdcm")
        gdcm.Trace.WarningOff()  # it would write what it finds in headers to stderr
        gdcm.Trace.ErrorOff()


def _refuse_cut_jpeg(frame: bytes) -> None:
    """Decoders fill a cut JPEG with gray; notice that its end mark is missing."""
    if frame.startswith(JPEG) and END_OF_JPEG not in frame[-64:]:
        raise DecodeError("truncated", "the compressed picture ends before its end mark")


def _note_more_frames(dataset: Any, warnings: list[str]) -> None:
    if len(dataset.PixelData) >= 2 * max(_expected_bytes(dataset), 1):
        warnings.append("more pixel data than one frame; the first was read")


def _pixel_error(dataset: Any, syntax: Any) -> DecodeError:
    if not syntax.is_encapsulated and len(dataset.PixelData or b"") < _expected_bytes(dataset):
        return DecodeError("truncated", "less pixel data than the header announces")
    return DecodeError("corrupt", "the pixel data cannot be decoded")
