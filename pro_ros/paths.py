"""Where the files that ship beside the package lie: ``msg/``, ``config/``, ``examples/``."""

from __future__ import annotations

from pathlib import Path

from pro_ros.errors import DataError

_PACKAGE = Path(__file__).resolve().parent


def share_file(relative: str) -> Path:
    """Path of a shipped file or folder, e.g. ``share_file("msg/Risk.msg")``.

    Looks beside the package (a source checkout, or an editable install), then in
    ``share/pro_ros`` of every folder above it (a virtual environment or a ROS workspace).

    Raises
    ------
    DataError
        the installation is incomplete.
    """
    candidates = [_PACKAGE.parent / relative] if _is_checkout(_PACKAGE.parent) else []
    candidates += [parent / "share" / "pro_ros" / relative for parent in _PACKAGE.parents]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise DataError(
        f"'{relative}' of pro_ros was not found beside the package or in share/pro_ros above "
        f"{_PACKAGE}: install pro_ros again"
    )


def _is_checkout(root: Path) -> bool:
    """Whether ``root`` is the repository: site-packages may hold a foreign ``msg`` folder."""
    return (root / "pyproject.toml").is_file() and (root / "msg").is_dir()
