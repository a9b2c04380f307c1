"""The cell's RGB camera, rendered in software where there is no GPU."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from pro_ros.cell.sensors import BASE_RATE
from pro_ros.cell.world import require_mujoco
from pro_ros.errors import SpecError

RATE = 30
"""Frames per second."""


class Camera:
    """Frames of the fixed camera above the totes, as JPEG.

    Parameters
    ----------
    width, height
        Size of a frame [pixels].

    Raises
    ------
    SpecError
        Nothing on this machine can render (no EGL, no OSMesa).
    """

    TAKES_NS = 20_000_000
    """From the exposure to the receipt [ns]."""

    def __init__(self, width: int = 160, height: int = 120) -> None:
        self.width, self.height = width, height
        self._renderer: Any = None
        _renderer(require_mujoco().MjModel.from_xml_string("<mujoco/>"), 16, 16).close()

    def show(self, model: Any) -> None:
        """Look at the cell of this model from now on."""
        self.close()
        self._renderer = _renderer(model, self.height, self.width)

    def frame(self, data: Any, step: int, steps: int) -> bytes | None:
        """A JPEG where one is due within ``steps`` after ``step``, else None."""
        if (step * RATE) // BASE_RATE == ((step - steps) * RATE) // BASE_RATE:
            return None
        from PIL import Image

        written = io.BytesIO()
        Image.fromarray(self.picture(data)).save(written, "JPEG", quality=85)
        return written.getvalue()

    def picture(self, data: Any) -> npt.NDArray[np.uint8]:
        """The present view, ``[height, width, 3]`` RGB."""
        self._renderer.update_scene(data, camera="cell")
        picture: npt.NDArray[np.uint8] = self._renderer.render()
        return picture

    def close(self) -> None:
        """Give the renderer back."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _renderer(model: Any, height: int, width: int) -> Any:
    try:
        import mujoco

        if "MUJOCO_GL" not in os.environ and not os.environ.get("DISPLAY"):
            # Without a display GLFW cannot work: EGL renders without one. MuJoCo reads MUJOCO_GL
            # once, when it is first imported, which was long ago.
            from mujoco.egl import GLContext

            sys.modules[mujoco.Renderer.__module__].gl_context.GLContext = GLContext
        return mujoco.Renderer(model, height, width)
    except (ImportError, AttributeError, RuntimeError, OSError, mujoco.FatalError) as exc:
        raise SpecError(
            "no renderer on this machine, so the cell has no camera: install EGL (Debian: "
            "libegl1 libgl1-mesa-dri) or OSMesa (libosmesa6, MUJOCO_GL=osmesa), or run without"
        ) from exc
