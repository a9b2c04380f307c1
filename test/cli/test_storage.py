"""Outputs are written whole or not at all, and replaced only on request."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_toy import Run, Toy, finish, start, toy_bag, toy_rows, write_csv

SPEC, DATA, CHECKPOINT, STORAGE = 2, 3, 4, 6
INTERRUPTED, TERMINATED = 130, 143

COMMANDS = ("import", "train", "evaluate", "replay")


def words(command: str, toy: Toy, out: Path) -> list[object]:
    """A command that makes ``out`` from the robot's files."""
    return {
        "import": ["import", toy.table, "-s", toy.streams, "-o", out],
        "train": ["train", toy.dataset, "-c", toy.training, "-o", out],
        "evaluate": ["evaluate", toy.checkpoint, toy.dataset, "--resamples", 2, "-o", out],
        "replay": ["replay", toy.bag, toy.checkpoint, "-o", out],
    }[command]


def earlier(command: str, toy: Toy, folder: Path) -> Path:
    """An output of the command that is there already."""
    out = folder / "out"
    kind = {"import": toy.dataset, "train": toy.checkpoint, "replay": toy.bag}
    if command in kind:
        shutil.copytree(kind[command], out)
    else:
        out.mkdir()
        (out / "metrics.json").write_text("{}")
    return out


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones included."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def one_error(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1, stderr
    assert lines[0].startswith("error: ")
    return lines[0]


# Outputs that exist


@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_is_replaced_only_on_request(
    run: Run, toy: Toy, tmp_path: Path, command: str
) -> None:
    out = earlier(command, toy, tmp_path)
    before = content(tmp_path)
    done = run(*words(command, toy, out))
    assert done.code == STORAGE
    line = one_error(done.stderr)
    assert str(out) in line
    assert "--overwrite" in line
    assert content(tmp_path) == before
    done = run(*words(command, toy, out), "--overwrite")
    assert done.code == 0, done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_no_such_command_made_is_never_replaced(
    run: Run, toy: Toy, tmp_path: Path, command: str
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    (tmp_path / "file").write_text("plain")
    before = content(tmp_path)
    for out in (tmp_path / "home", tmp_path / "file"):
        done = run(*words(command, toy, out), "--overwrite")
        assert done.code == STORAGE
        assert str(out) in one_error(done.stderr)
    assert content(tmp_path) == before


def test_an_empty_folder_is_filled_on_request(run: Run, toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert run(*words("replay", toy, tmp_path / "out"), "--overwrite").code == 0
    assert (tmp_path / "out" / "metadata.yaml").is_file()


def test_what_is_read_is_never_replaced(run: Run, toy: Toy, tmp_path: Path) -> None:
    dataset = Path(shutil.copytree(toy.dataset, tmp_path / "dataset"))
    bag = dataset / "recordings" / "log"
    before = content(tmp_path)
    for given in (
        ["import", bag, "-s", dataset / "streams.yaml", "-o", dataset],
        ["train", dataset, "-c", toy.training, "-o", dataset],
        ["replay", bag, toy.checkpoint, "-o", bag],
    ):
        done = run(*given, "--overwrite")
        assert done.code == STORAGE
        assert str(dataset) in one_error(done.stderr)
    assert content(tmp_path) == before


# Full disks


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """Let no file grow beyond ``size`` bytes: writing more fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("command", "size"), [
    ("import", 100), ("import", 3000), ("import", 8000), ("train", 100), ("train", 4000),
    ("evaluate", 100), ("evaluate", 200_000), ("replay", 100), ("replay", 20_000),
])  # fmt: skip
def test_a_full_disk_leaves_what_was_there(
    run: Run, toy: Toy, tmp_path: Path, command: str, size: int
) -> None:
    out = earlier(command, toy, tmp_path)
    before = content(tmp_path)
    with no_file_beyond(size):
        done = run(*words(command, toy, out), "--overwrite")
    assert done.code == STORAGE, done.stderr
    assert done.stdout == ""
    line = one_error(done.stderr)
    # Training writes its state beside the checkpoint first.
    assert str(tmp_path / ".out.state" if command == "train" else out) in line
    assert "File too large" in line
    assert content(tmp_path) == before


def test_a_full_disk_while_a_bag_is_copied_leaves_nothing(
    run: Run, toy: Toy, tmp_path: Path
) -> None:
    given = ["import", toy.bag, "-s", toy.streams, "-o", tmp_path / "out", "--copy"]
    with no_file_beyond(5000):
        done = run(*given)
    assert done.code == STORAGE, done.stderr
    assert str(tmp_path / "out") in one_error(done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_a_process_with_an_error_and_no_signal(toy: Toy, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    given = words("import", toy, tmp_path / "out")
    done = finish(start(given, tmp_path, preexec_fn=limit))
    assert done.code == STORAGE
    assert "File too large" in one_error(done.stderr)
    assert list(tmp_path.iterdir()) == []


# Missing rights


class CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class Capabilities(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint32) for name in ("effective", "permitted", "inherited"))


@contextmanager
def plain_rights() -> Iterator[None]:
    """Let the rights of files count for root too: without CAP_DAC_OVERRIDE and _READ_SEARCH."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None)
    header = CapabilityHeader(0x20080522, 0)
    held = (Capabilities * 2)()
    libc.capget(ctypes.byref(header), ctypes.byref(held))
    all_of_them = held[0].effective
    held[0].effective &= ~0b110
    libc.capset(ctypes.byref(header), ctypes.byref(held))
    try:
        yield
    finally:
        held[0].effective = all_of_them
        libc.capset(ctypes.byref(header), ctypes.byref(held))


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A folder that may be read and not be written."""
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    with plain_rights():
        if os.access(folder, os.W_OK, effective_ids=True):
            pytest.skip("rights of files do not count for this user")
        yield folder
    folder.chmod(0o755)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_without_permission_is_named(
    run: Run, toy: Toy, locked: Path, command: str
) -> None:
    done = run(*words(command, toy, locked / "out"))
    assert done.code == STORAGE, done.stderr
    line = one_error(done.stderr)
    assert str(locked) in line
    assert "Permission denied" in line
    assert list(locked.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "hidden", "code"),
    [
        ("import", "table", DATA), ("import", "streams", SPEC), ("train", "training", SPEC),
        ("train", "dataset", DATA), ("evaluate", "checkpoint", CHECKPOINT),
        ("evaluate", "dataset", DATA), ("replay", "bag", DATA),
        ("replay", "checkpoint", CHECKPOINT),
    ],
)  # fmt: skip
def test_an_input_without_permission_is_named(
    run: Run, toy: Toy, locked: Path, tmp_path: Path, command: str, hidden: str, code: int
) -> None:
    source = getattr(toy, hidden)
    secret = tmp_path / source.name
    (shutil.copytree if source.is_dir() else shutil.copy)(source, secret)
    for file in [p for p in [secret, *secret.rglob("*")] if p.is_file()]:
        file.chmod(0)
    given = [secret if word == source else word for word in words(command, toy, tmp_path / "out")]
    done = run(*given)
    assert done.code == code, done.stderr
    line = one_error(done.stderr)
    assert str(secret) in line
    assert "Permission denied" in line
    assert not (tmp_path / "out").exists()


# Interruptions


def until_writing(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait until the process has written a part of its output to a hidden place."""
    for _ in range(2000):
        assert process.poll() is None, process.communicate()
        if any(p.stat().st_size > 2000 for p in folder.glob(".*/**/*.mcap")):
            return
        time.sleep(0.01)
    raise AssertionError("nothing was written")


@pytest.fixture(scope="module")
def long_robot(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """The robot over many cycles: enough to be interrupted."""
    folder = tmp_path_factory.mktemp("long")
    table = write_csv(folder / "log.csv", toy_rows(cycles=5000))
    bag = toy_bag(folder / "recordings" / "log", cycles=1000)
    assert bag.is_dir()
    return Toy(table, toy.streams, toy.training, folder, toy.checkpoint)


@pytest.mark.parametrize(
    ("command", "number", "code"),
    [
        ("import", signal.SIGINT, INTERRUPTED), ("import", signal.SIGTERM, TERMINATED),
        ("import", signal.SIGKILL, -9), ("replay", signal.SIGINT, INTERRUPTED),
        ("replay", signal.SIGKILL, -9),
    ],
)  # fmt: skip
def test_an_interruption_leaves_what_was_there(
    toy: Toy, long_robot: Toy, tmp_path: Path, command: str, number: signal.Signals, code: int
) -> None:
    out = earlier(command, toy, tmp_path)
    before = content(tmp_path)
    process = start([*words(command, long_robot, out), "--overwrite"], tmp_path)
    until_writing(process, tmp_path)
    process.send_signal(number)
    done = finish(process)
    assert done.code == code
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    after = content(tmp_path)
    if number == signal.SIGKILL:
        # Nobody could clean up: what is left is hidden, and never under the final name.
        after = {name: raw for name, raw in after.items() if not name.startswith(".")}
    assert after == before
    if number == signal.SIGINT:
        assert done.stderr.splitlines() == ["interrupted: nothing was left half-written"]


def test_an_interrupted_training_goes_on_when_the_command_is_given_again(
    run: Run, toy: Toy, tmp_path: Path
) -> None:
    config = tmp_path / "training.yaml"
    config.write_text(toy.training.read_text().replace("epochs: 2", "epochs: 40"))
    given: Sequence[object] = ["train", toy.dataset, "-c", config, "-o", tmp_path / "out"]
    process = start(given, tmp_path)
    state = tmp_path / ".out.state.safetensors"
    for _ in range(3000):
        if state.exists():
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.code == INTERRUPTED
    assert done.stderr.splitlines() == [
        "note: the same command goes on after the last whole epoch",
        "interrupted: nothing was left half-written",
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == [state.name, config.name]
    done = run(*given)
    assert done.code == 0
    assert done.notes[0] == f"note: going on with an interrupted run: {state}"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", config.name]
