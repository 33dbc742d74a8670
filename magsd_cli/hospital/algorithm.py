"""The algorithm that made a result, as every object names it, and the UIDs that follow from it.

A UID is 2.25 and the name-based UUID (RFC 4122, version 5; DICOM PS3.5, B.2) of what the object is made of:
the images' own UIDs and contents, the networks' hash, the settings. The same question has the same UID on
every machine and in every version of magsd, so that nothing is stored twice.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydicom.sr.coding import Code

from magsd_cli import __version__
from magsd_cli.hashing import sha256_bytes
from magsd_cli.hospital.sources import Source
from magsd_cli.inference.decision import DecisionRules, in_metadata
from magsd_cli.inference.model import Model

MAKER = "magsd"
NOT_FOR_DIAGNOSIS = "Not for clinical diagnosis."
_NAMESPACE = uuid.UUID("931e9dd7-6c0a-4f0b-8e5f-2d8f1f3b6a57")
_LAYOUT = 1  # of what result objects say; another number gives every object another UID


@dataclass(frozen=True)
class Algorithm:
    """A model, its rules and the codes of its classes. `settings`: the hash of the rules and the codes."""

    name: str
    model_sha256: str
    rules: DecisionRules = field(repr=False)
    codes: Mapping[str, Code] = field(repr=False)
    settings: str
    operating_sha256: str = ""

    def parameters(self) -> list[str]:
        """The parameters of Algorithm Identification, beside name and version."""
        found = [f"model_sha256={self.model_sha256}"]
        if self.operating_sha256:
            found.append(f"operating_sha256={self.operating_sha256}")
        if self.rules.positive is not None:
            found.append(f"threshold={self.rules.threshold:.6g}")
        return found

    @property
    def version(self) -> str:
        """The version of the software; the model's own is its hash."""
        return __version__

    @property
    def device_uid(self) -> str:
        """The UID of the algorithm with its settings as an observer."""
        return self.uid("device")

    def uid(self, kind: str, *parts: str) -> str:
        """The UID of what this algorithm with these settings makes of `parts`."""
        words = json.dumps([_LAYOUT, kind, self.model_sha256, self.settings, *parts])
        return f"2.25.{uuid.uuid5(_NAMESPACE, words).int}"

    def uid_of_images(self, kind: str, sources: list[Source], *parts: str) -> str:
        """The UID of an object about `sources`, in whatever order they come."""
        images = sorted([str(source.header.SOPInstanceUID), source.sha256] for source in sources)
        return self.uid(kind, *parts, json.dumps(images))


def algorithm_of(model: Model, rules: DecisionRules, codes: Mapping[str, Code]) -> Algorithm:
    """`model` as the maker of results under `rules`, its classes coded by `codes`."""
    operating = str(in_metadata(model, rules)["operating_sha256"])
    coded = {name: [code.scheme_designator, code.value, code.meaning] for name, code in codes.items()}
    settings = json.dumps([operating, rules.temperature, rules.raw, coded], sort_keys=True)
    return Algorithm(model.name, model.sha256, rules, codes, sha256_bytes(settings.encode()), operating)
