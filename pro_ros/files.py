"""Writing that is all or nothing: a file or folder appears complete under its name, or not at all.

What is written goes to a hidden folder beside the target (same file system), is flushed to the
disk, and only then takes the final name. A failure, Ctrl-C included, removes the hidden folder;
a killed process leaves it behind, but never anything under the final name.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pro_ros.errors import StorageError


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Give a path to write to; on success the file replaces ``path``.

    The given path has the same file name as ``path``, so that a writer that goes by the suffix
    or keeps the name in the file does the right thing. Missing parent folders are made.

    Raises
    ------
    StorageError
        the disk is full, the folder cannot be written, or ``path`` is a folder. An existing file
        is left as it was, as it is on any exception from the body.
    """
    path = Path(path)
    with _staging(path) as staged:
        yield staged
        if path.is_dir():
            raise StorageError(f"{path}: cannot be written: there is a folder of this name")
        _sync(staged)
        staged.replace(path)
        _sync(path.parent)


@contextmanager
def atomic_dir(
    path: Path | str, *, overwrite: bool = False, create: bool = True
) -> Iterator[Path]:
    """Give a folder to fill; on success it becomes ``path``.

    Parameters
    ----------
    overwrite
        Replace an existing ``path``; without it an existing one is refused before any work.
    create
        Make the folder; False for writers that insist on making it themselves.

    Raises
    ------
    StorageError
        ``path`` exists (and ``overwrite`` is false), the disk is full, or there is no permission.
        An existing folder is left as it was, as it is on any exception from the body.
    """
    path = Path(path)
    if _exists(path) and not overwrite:
        raise StorageError(f"{path}: exists already; remove it or ask to overwrite it")
    with _staging(path) as staged:
        if create:
            staged.mkdir()
        yield staged
        for folder, _, files in os.walk(staged):
            for name in files:
                _sync(Path(folder, name))
            _sync(Path(folder))
        if not _exists(path):
            staged.rename(path)
        elif overwrite:
            _swap(staged, path)
        else:
            raise StorageError(f"{path}: cannot be written: it appeared in the meantime")
        _sync(path.parent)


def _exists(path: Path) -> bool:
    """Whether anything has this name, a broken link included."""
    try:
        return path.exists() or path.is_symlink()
    except OSError as exc:
        raise storage_error(path, exc) from exc


def _swap(staged: Path, path: Path) -> None:
    """Put ``staged`` in the place of ``path``; on failure the old one is put back."""
    old = staged.with_name(f"{staged.name}.old")
    path.rename(old)
    try:
        staged.rename(path)
    except BaseException:
        old.rename(path)
        raise


@contextmanager
def _staging(path: Path) -> Iterator[Path]:
    """Path of the same name in a hidden sibling folder, which is removed in the end."""
    hidden: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = tempfile.mkdtemp(prefix=f".{path.name[:60]}.", suffix=".tmp", dir=path.parent)
        yield Path(hidden, path.name)
    except StorageError as exc:
        # What is written into the staged folder has, for the user, its final name.
        staged = str(Path(hidden or "", path.name))
        if staged not in str(exc):
            raise
        raise StorageError(str(exc).replace(staged, str(path))) from exc
    except OSError as exc:
        if hidden is not None and _is_foreign(exc, path, hidden):
            raise
        raise storage_error(path, exc) from exc
    finally:
        if hidden is not None:
            shutil.rmtree(hidden, ignore_errors=True)


def _is_foreign(exc: OSError, path: Path, hidden: str) -> bool:
    """Whether the failure names a file that has nothing to do with writing ``path``."""
    # A copy names both its source and its target.
    given = (exc.filename, exc.filename2)
    names = [os.fspath(name) for name in given if isinstance(name, str | os.PathLike)]
    return bool(names) and not any(
        n.startswith(hidden) or Path(n) in (path, path.parent) for n in names
    )


def storage_error(path: Path, exc: BaseException) -> StorageError:
    """The one line for a failed write to ``path``.

    Use it where a library wraps the failure of the operating system in an exception of its own.
    """
    reason = getattr(exc, "strerror", None) or str(exc).partition("\n")[0] or type(exc).__name__
    return StorageError(f"{path}: cannot be written: {reason}")


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk, so that a power cut after the rename loses nothing."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
