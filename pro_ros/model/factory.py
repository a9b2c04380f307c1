"""One place that builds an operator for a robot, and says whether two robots fit together."""

from __future__ import annotations

from collections.abc import Mapping

from pro_ros.errors import SpecError
from pro_ros.model.config import OperatorConfig
from pro_ros.model.operator import Operator
from pro_ros.streams.spec import ImageSpec, RobotSpec


def build_operator(config: OperatorConfig, spec: RobotSpec) -> Operator:
    """Build an operator for the streams and failure modes of a stream file.

    Initial weights come from torch's random generator: seed it first.

    Raises
    ------
    SpecError
        a Hugging Face model that the configuration names cannot be loaded, or an image is too
        small for the visual network.
    """
    smallest = min((min(i.height, i.width) for i in spec.cameras.values()), default=None)
    stages = len(config.visual.channels)
    if smallest is not None and config.visual.kind == "compact" and smallest < 2**stages:
        raise SpecError(
            f"visual.channels: {stages} stages halve the image {stages} times; that needs images "
            f"of at least {2**stages} pixels, and the smallest here has {smallest}"
        )
    return Operator(config, spec.layout, spec.cameras, spec.failure_modes)


def layout_mismatch(expected: RobotSpec, given: RobotSpec) -> str | None:
    """Why an operator made for ``expected`` cannot read what ``given`` provides, or None.

    Topics, clocks and rates may differ; names, order and sizes of what is read may not.
    """
    for key, wanted, found in (
        ("modalities", tuple(sorted(expected.layout)), tuple(sorted(given.layout))),
        ("cameras", tuple(expected.cameras), tuple(given.cameras)),
        ("failure_modes", expected.failure_modes, given.failure_modes),
    ):
        if wanted != found:
            return f"{key} are {_listed(found)}, expected {_listed(wanted)}"
    return _features_differ(expected.layout, given.layout) or _images_differ(
        expected.cameras, given.cameras
    )


def _features_differ(
    expected: Mapping[str, tuple[str, ...]], given: Mapping[str, tuple[str, ...]]
) -> str | None:
    for modality, wanted in expected.items():
        found = given[modality]
        for n in range(max(len(wanted), len(found))):
            a = f"'{wanted[n]}'" if n < len(wanted) else "none"
            b = f"'{found[n]}'" if n < len(found) else "none"
            if a != b:
                return f"feature {n + 1} of {modality} is {b}, expected {a}"
    return None


def _images_differ(
    expected: Mapping[str, ImageSpec], given: Mapping[str, ImageSpec]
) -> str | None:
    for camera, wanted in expected.items():
        found = given[camera]
        if found != wanted:
            return (
                f"camera '{camera}' has {found.height} x {found.width} pixels, "
                f"expected {wanted.height} x {wanted.width}"
            )
    return None


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
