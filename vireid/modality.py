"""The one place where the modalities are spelt."""

from __future__ import annotations

from enum import Enum

from vireid._checks import check_choice


class Modality(str, Enum):
    """A modality of VI-ReID. A member equals its own name, so ``"infrared"`` may be written wherever one is taken.

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
        """The modality of the camera images called ``name``: visible or infrared.

        Raises:
            ValueError: ``name`` is neither.
        """
        check_choice("modality", name, (cls.VISIBLE.value, cls.INFRARED.value))
        return cls(name)
