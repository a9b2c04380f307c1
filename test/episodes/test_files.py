"""Nothing half-written ever stands under the final name."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pro_ros.errors import DataError, StorageError
from pro_ros.files import atomic_dir, atomic_file
from pro_ros.paths import share_file

ROOT = Path(__file__).resolve().parents[2]


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def run_python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_file_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.json"
    with atomic_file(target) as staged:
        staged.write_text("whole")
        assert staged.name == target.name
        assert not target.exists()
    assert target.read_text() == "whole"
    assert names(target.parent) == ["a.json"]


@pytest.mark.parametrize("failure", [ValueError("no"), KeyboardInterrupt(), SystemExit(1)])
def test_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, failure: BaseException
) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")

    def write() -> None:
        with atomic_file(target) as staged:
            staged.write_text("half")
            raise failure

    with pytest.raises(type(failure)):
        write()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.json"]


def test_folder_is_refused_where_something_exists_before_any_work(tmp_path: Path) -> None:
    target = tmp_path / "data"
    target.mkdir()
    worked = False
    with pytest.raises(StorageError, match="exists already"), atomic_dir(target):
        worked = True
    assert not worked
    broken_link = tmp_path / "link"
    broken_link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(StorageError, match="exists already"), atomic_dir(broken_link):
        worked = True
    assert not worked


def test_overwrite_swaps_the_whole_folder(tmp_path: Path) -> None:
    target = tmp_path / "data"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with atomic_dir(target, overwrite=True) as staged:
        (staged / "sub").mkdir()
        (staged / "sub" / "new.txt").write_text("new")
        assert (target / "old.txt").exists()
    assert not (target / "old.txt").exists()
    assert (target / "sub" / "new.txt").read_text() == "new"
    assert names(tmp_path) == ["data"]


def test_failed_overwrite_keeps_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "data"
    target.mkdir()
    (target / "old.txt").write_text("old")

    def write() -> None:
        with atomic_dir(target, overwrite=True) as staged:
            (staged / "new.txt").write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert names(target) == ["old.txt"]
    assert names(tmp_path) == ["data"]


def test_swap_that_fails_halfway_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "data"
    target.mkdir()
    (target / "old.txt").write_text("old")
    rename = Path.rename
    calls: list[Path] = []

    def second_fails(self: Path, other: Path) -> Path:
        calls.append(self)
        if len(calls) == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", second_fails)

    def write() -> None:
        with atomic_dir(target, overwrite=True) as staged:
            (staged / "new.txt").write_text("new")

    with pytest.raises(StorageError, match="Input/output error"):
        write()
    assert len(calls) == 3
    assert names(target) == ["old.txt"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_failures_of_the_system_become_one_line(tmp_path: Path, code: int) -> None:
    target = tmp_path / "a.bin"
    with pytest.raises(StorageError) as caught, atomic_file(target):
        raise OSError(code, os.strerror(code))
    assert str(caught.value) == f"{target}: cannot be written: {os.strerror(code)}"
    assert names(tmp_path) == []


def test_failure_of_another_file_is_not_called_a_failed_write(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "a.bin"):
        Path(tmp_path, "elsewhere", "input.csv").read_text()


def test_full_disk_leaves_nothing(tmp_path: Path) -> None:
    code = """
import resource, sys
from pro_ros.errors import StorageError
from pro_ros.files import atomic_file
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with atomic_file(sys.argv[1]) as staged, staged.open("wb") as out:
        for _ in range(100):
            out.write(bytes(10_000))
except StorageError as error:
    print(error)
"""
    done = run_python(code, str(tmp_path / "big.bin"))
    assert done.stdout.strip() == f"{tmp_path / 'big.bin'}: cannot be written: File too large"
    assert done.stderr == ""
    assert names(tmp_path) == []


def test_device_without_space_is_one_line(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    target = tmp_path / "a.bin"

    def write() -> None:
        with atomic_file(target) as staged:
            staged.symlink_to("/dev/full")
            staged.write_bytes(b"x")

    with pytest.raises(StorageError) as caught:
        write()
    assert str(caught.value) == f"{target}: cannot be written: No space left on device"
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["atomic_file", "atomic_dir"])
def test_killed_process_leaves_nothing_under_the_final_name(tmp_path: Path, kind: str) -> None:
    code = f"""
import sys, time
from pro_ros.files import atomic_dir, atomic_file
with {kind}(sys.argv[1]) as staged:
    (staged if staged.suffix else staged / "part").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""
    target = tmp_path / ("a.txt" if kind == "atomic_file" else "folder")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(target)], env=environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not target.exists()
    assert all(name.startswith(".") for name in names(tmp_path))
    with atomic_file(tmp_path / "again.txt") as staged:
        staged.write_text("the leftover does not hinder")
    assert (tmp_path / "again.txt").exists()


def test_shipped_files_are_found_and_absent_ones_named() -> None:
    assert share_file("msg/Risk.msg").is_file()
    with pytest.raises(DataError, match=r"'msg/None\.msg' of pro_ros was not found"):
        share_file("msg/None.msg")


def test_shipped_files_are_found_in_an_installation(tmp_path: Path) -> None:
    package = tmp_path / "lib" / "python3" / "site-packages" / "pro_ros"
    package.mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "paths.py"):
        (package / name).write_bytes((ROOT / "pro_ros" / name).read_bytes())
    shipped = tmp_path / "share" / "pro_ros" / "msg" / "Risk.msg"
    shipped.parent.mkdir(parents=True)
    shipped.write_text("")
    code = "import sys; sys.path.insert(0, sys.argv[1]); import pro_ros.paths as p;"
    code += "print(p.share_file('msg/Risk.msg'))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(package.parent)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert Path(done.stdout.strip()) == shipped.resolve()
