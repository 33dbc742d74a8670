"""The view and the body part in a DICOM header: words of a closed vocabulary, never its text.

Sources: the coded view and region (PS3.16 CID 4010 and 4031), the defined terms of PS3.3 C.8.11.5 and PS3.16
Annex L, and the words that people type. What is not plainly a lateral view or another part is let through.
"""

from __future__ import annotations

import re
from typing import Any

from magsd_cli.data.dicom.fields import items, keyword, text, words

# CID 4010, in SNOMED CT and in the older SRT codes.
CODES = {
    **dict.fromkeys(("399348003", "R-10206"), "AP"),
    **dict.fromkeys(("272479007", "R-40888", "R-10214"), "PA"),
    **dict.fromkeys(("399173006", "R-10236", "399198007", "R-10232", "399067008", "R-102CD"), "L"),
}
POSITIONS = {
    **dict.fromkeys(("PA",), "PA"),
    **dict.fromkeys(("AP", "APS", "APSUPINE", "APERECT"), "AP"),
    **dict.fromkeys(("LL", "RL", "L", "LLD", "RLD", "LLAT", "RLAT", "LATL", "LATR"), "L"),
}
LATERAL = frozenset(
    words(
        "LAT LATERAL LATERALE LATERALIS LATERALLY LATS LL RL LLAT RLAT LTLAT RTLAT LATERO LATEROLATERAL "
        "PROFIL PROFILE PERFIL SEITLICH SEITLICHE"
    )
)
SIDEWAYS = LATERAL - {"PROFILE", "RL"}  # in free text also a device's settings, the right lung
CHEST_BEFORE = re.compile(r"^(CHEST|THORAX|TORAX|CXR)(?=.)")  # CHESTLAT
PA = frozenset(("PA", "POSTEROANTERIOR", "POSTERIORANTERIOR"))
AP = frozenset(("AP", "ANTEROPOSTERIOR", "ANTERIORPOSTERIOR", "APS"))
FRONTAL = PA | AP | frozenset(words("FRONTAL FRONT POSTERO ANTERO POSTERIOR ANTERIOR FACE DV VD"))
# A patient who lies on the side is seen from the front; an oblique view is neither.
OTHERWISE = frozenset(
    words("DECUBITUS DECUB DECUBITO DEC OBLIQUE OBL OBLIQ SCHRAEG BI UNI BILATERAL AND UND ET")
)
DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription")

CHEST = ("CHEST", "THORA", "TORAX", "TORACE", "LUNG", "PULMO", "POUMON")
NOT_CHEST = ("SPINE", "VERTEB", "LUMBAR", "CERVIC", "COLUMN", "WIRBEL")  # T-spine, thoracic spine
OTHER_PARTS = frozenset(
    words(
        "ABDOMEN ABDO ABD KUB ACJOINT ANKLE ANUS ARM BLADDER BRAIN BREAST BUTTOCK CALCANEUS CALF CAROTID "
        "CLAVICLE COCCYX COLON CSPINE CTSPINE DENTAL EAR ELBOW EXTREMITY EYE FACE FEMUR FIBULA FINGER FOOT "
        "FEET FOREARM GALLBLADDER HAND HEAD HEEL HIP HUMERUS ILIUM JAW KIDNEY KNEE LEG LIVER LSPINE LSSPINE "
        "MANDIBLE MAXILLA NASAL NECK NOSE ORBIT PANCREAS PATELLA PELVIS LIMB LOWERLIMB UPPERLIMB LOWERLEG "
        "UPPERARM ABDOMENPELVIS PROSTATE RADIUS RECTUM SACRUM SCALP SCAPULA SELLA SHOULDER SINUS SINUSES "
        "SIJOINT SKULL SPINE SSPINE STOMACH TEETH THIGH THUMB TIBIA TMJ TOE TSPINE TLSPINE TOOTH ULNA "
        "UTERUS WRIST ZYGOMA KNIE HUEFTE BECKEN SCHULTER SCHAEDEL FUSS GENOU PIED BASSIN CRANE EPAULE "
        "RODILLA MANO CADERA CRANEO HOMBRO GINOCCHIO GOMITO POLSO SPALLA BACINO"
    )
)
NEUTRAL = frozenset(
    words(
        "TRUNK TORSO BODY WHOLEBODY RIB RIBS STERNUM HEART MEDIASTINUM TRACHEA BRONCHUS AIRWAY DIAPHRAGM "
        "ESOPHAGUS CXR"
    )
)
OTHER_MODALITIES = {"MG": "breast", "PX": "teeth", "IO": "teeth"}


def view_of(dataset: Any, warnings: list[str]) -> str:
    """PA, AP, L (lateral) or "" (not told). `warnings` is added to where the header contradicts itself.

    A lateral view is one that position or coded view call so; the descriptions of series and protocol are
    asked where neither tells. One that names both views, as that of a whole exam does, tells nothing.
    """
    structured = [view for view in (_position(dataset), _coded(dataset)) if view]
    described = _described(dataset)
    if len({view == "L" for view in (*structured, described) if view}) > 1:
        warnings.append("the header contradicts itself about the view")
    view = "L" if "L" in structured else next(iter(structured), described)
    return "" if view == "F" else view


def _position(dataset: Any) -> str:
    return POSITIONS.get(keyword(dataset, "ViewPosition"), "") or _view_in_words(
        text(dataset, "ViewPosition")
    )


def _coded(dataset: Any) -> str:
    for item in items(dataset, "ViewCodeSequence"):
        known = CODES.get(text(item, "CodeValue").upper(), "") or _view_in_words(text(item, "CodeMeaning"))
        if known:
            return known
    return ""


def _described(dataset: Any) -> str:
    for name in DESCRIPTIONS:
        found = _view_in_words(text(dataset, name), SIDEWAYS)
        if found:
            return found
    return ""


def _view_in_words(value: str, lateral: frozenset[str] = LATERAL) -> str:
    """PA, AP, F (frontal, not told which) or L, where the words name exactly one of the two kinds."""
    found = {part for word in words(value) for part in (word, CHEST_BEFORE.sub("", word))}
    frontal, sideways = bool(found & FRONTAL), bool(found & lateral)
    if frontal == sideways or (sideways and found & OTHERWISE):
        return ""
    if sideways:
        return "L"
    if found & PA or {"POSTERO", "ANTERIOR"} <= found:
        return "PA"
    return "AP" if found & AP or {"ANTERO", "POSTERIOR"} <= found else "F"


def other_part(dataset: Any, warnings: list[str]) -> bool:
    """Return whether the header plainly names a body part other than the chest.

    `warnings` is added to where it names a part that is not known here.
    """
    named = [text(dataset, "BodyPartExamined")]
    named += [text(item, "CodeMeaning") for item in items(dataset, "AnatomicRegionSequence")]
    kinds = {_kind_of_part(value) for value in named if value}
    if "chest" in kinds:
        return False
    if "other" in kinds or text(dataset, "Modality").upper() in OTHER_MODALITIES:
        return True
    if kinds == {"unknown"}:
        warnings.append("the header names a body part that is not known here")
    return False


def _kind_of_part(value: str) -> str:
    found = words(value)
    joined = "".join(found)
    spine = any(part in joined for part in NOT_CHEST)
    if any(part in joined for part in CHEST) and not spine:
        return "chest"
    if spine or any(
        word in OTHER_PARTS or word.removesuffix("S") in OTHER_PARTS for word in (*found, joined)
    ):
        return "other"
    return "neutral" if any(word in NEUTRAL for word in (*found, joined)) else "unknown"
