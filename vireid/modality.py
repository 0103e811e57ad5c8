"""The names of the modalities, defined once."""

from __future__ import annotations

from enum import Enum

from vireid._checks import check_choice


class Modality(str, Enum):
    """Name a modality of VI-ReID. A member equals its name, so functions take ``"infrared"`` as well.

    ``AUXILIARY`` is the modality that MUN generates; no camera and no record has it.

    Example:
        >>> Modality.of("infrared") is Modality.INFRARED
        True
        >>> Modality.INFRARED == "infrared"
        True
    """

    VISIBLE = "visible"
    INFRARED = "infrared"
    AUXILIARY = "auxiliary"

    @classmethod
    def of(cls, name: Modality | str) -> Modality:
        """Return the modality of camera images named ``name``, visible or infrared.

        Raises:
            ValueError: If ``name`` is neither.
            TypeError: If ``name`` is no string.
        """
        check_choice("modality", name, (cls.VISIBLE.value, cls.INFRARED.value))
        return cls(name)
