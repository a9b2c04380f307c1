from __future__ import annotations

import numpy as np
import pytest
import torch

from pro_ros.episodes.manifest import Episode
from pro_ros.episodes.sequence import Sequence
from pro_ros.model.calibration import Affine, Calibration
from pro_ros.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from pro_ros.model.config import OperatorConfig, TemporalConfig, VisualEncoderConfig
from pro_ros.model.factory import build_operator
from pro_ros.model.outputs import Assessment, Assessments
from pro_ros.runtime import assessor as module
from pro_ros.runtime.assessor import Assessor
from pro_ros.streams.sample import Step
from pro_ros.streams.spec import RobotSpec, parse_spec

STREAMS = {
    "joints": {
        "modality": "state", "rate": 100.0,
        "features": [{"name": "q", "columns": ["a", "b"], "unit": "rad"}],
    },
    "command": {
        "modality": "action", "rate": 100.0, "features": [{"name": "u", "columns": ["u"]}],
    },
    "wrist": {
        "modality": "visual", "topic": "/c", "type": "sensor_msgs/msg/Image", "rate": 10.0,
        "image": {"height": 16, "width": 16},
    },
}  # fmt: skip


def robot(seeing: bool) -> RobotSpec:
    streams = {k: v for k, v in STREAMS.items() if seeing or k != "wrist"}
    raw = {
        "format": "pro_ros/streams/1", "robot": "arm", "step": {"rate": 100.0}, "gap": 1.0,
        "streams": streams, "events": {"slip": {"signal": "joints.q.0", "above": 2.0}},
        "failure_modes": ["slip"], "episodes": {"task": "pick", "context": {"sku": "A7"}},
    }  # fmt: skip
    return parse_spec(raw, "spec")


def checkpoint(folder, kind="taps", seeing=False) -> Checkpoint:
    torch.manual_seed(0)
    config = OperatorConfig(
        width=8, members=3, temporal=TemporalConfig(kind=kind, window=5, heads=2),
        visual=VisualEncoderConfig(channels=(4, 8)),
    )  # fmt: skip
    operator = build_operator(config, robot(seeing))
    with torch.no_grad():
        operator.text.weight.normal_()
        operator.temporal.before.normal_() if kind == "taps" else None
    calibration = Calibration(hazard={"slip": Affine(slope=0.5, intercept=-0.3)})
    save_checkpoint(folder, operator, robot(seeing), calibration)
    return load_checkpoint(folder)


def recording(steps: int, seeing: bool, tasks: tuple[str, ...] = ()) -> Sequence:
    rng = np.random.default_rng(0)
    held = np.repeat(rng.integers(0, 256, (steps // 4 + 1, 3, 16, 16), dtype=np.uint8), 4, axis=0)
    held.flags.writeable = False
    each = max(1, steps // max(1, len(tasks)))
    index = np.minimum(np.arange(steps) // each, len(tasks) - 1) if tasks else np.full(steps, -1)
    episodes = tuple(
        Episode(id=str(n), recording="r", start_ns=n, end_ns=n + 1, task=task)
        for n, task in enumerate(tasks)
    )
    return Sequence(
        id="r#0", t_ns=np.arange(steps, dtype=np.int64) * 10_000_000,
        values={"state": rng.normal(size=(steps, 3)).astype(np.float32),
                "action": rng.normal(size=(steps, 2)).astype(np.float32)},
        mask={"state": rng.random((steps, 3)) < 0.8, "action": rng.random((steps, 2)) < 0.8},
        frames={"wrist": held[:steps]} if seeing else {},
        frame_mask={"wrist": rng.random(steps) < 0.7} if seeing else {},
        episode=index.astype(np.int32), episodes=episodes, events=(), known_until_ns=10**18,
    )  # fmt: skip


def step(seq: Sequence, t: int, restart: bool = False) -> Step:
    return Step(
        t_ns=int(seq.t_ns[t]),
        restart=restart,
        values={m: v[t] for m, v in seq.values.items()},
        mask={m: v[t] for m, v in seq.mask.items()},
        frames={c: v[t] if seq.frame_mask[c][t] else None for c, v in seq.frames.items()},
        ages={},
        stale=(),
    )


def same(one: Assessment, many: Assessments, t: int) -> None:
    for name, expected in vars(many.at(t)).items():
        np.testing.assert_allclose(getattr(one, name), expected, atol=1e-5, err_msg=f"{name} {t}")


@pytest.mark.parametrize("kind", ["taps", "attention"])
@pytest.mark.parametrize("seeing", [False, True])
def test_steps_and_the_whole_sequence_give_the_same_numbers(tmp_path, monkeypatch, kind, seeing):
    monkeypatch.setattr(module, "CHUNK", 7)
    monkeypatch.setattr(module, "CHUNK_WITH_FRAMES", 9)
    assessor = Assessor(checkpoint(tmp_path / "m", kind, seeing))
    seq = recording(40, seeing)
    whole = assessor.run(seq)
    assert len(whole) == 40
    assert whole.risk.shape == (40, 3)
    for t in range(40):
        same(assessor.assess(step(seq, t)), whole, t)


def test_a_restart_forgets_what_was_before(tmp_path):
    assessor = Assessor(checkpoint(tmp_path / "m"))
    seq = recording(12, False)
    first = [assessor.assess(step(seq, t)) for t in range(12)]
    again = [assessor.assess(step(seq, t, restart=t == 0)) for t in range(12)]
    assert again[0].progress == 0.0
    for a, b in zip(first, again, strict=True):
        assert a.value == b.value
        assert a.progress == b.progress
    assessor.reset()
    assert assessor.assess(step(seq, 0)).progress == 0.0


def test_runs_are_equal_to_the_bit_and_leave_the_stepping_memory_alone(tmp_path):
    assessor = Assessor(checkpoint(tmp_path / "m"))
    seq = recording(10, False)
    assessor.assess(step(seq, 0))
    a, b = assessor.run(seq), assessor.run(seq)
    for name in vars(a):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    same(assessor.assess(step(seq, 1)), a, 1)


def test_warming_up_leaves_no_trace(tmp_path):
    seq = recording(5, True)
    made = checkpoint(tmp_path / "m", seeing=True)
    cold, warm = Assessor(made), Assessor(made)
    warm.warm_up()
    for t in range(5):
        assert cold.assess(step(seq, t)).value == warm.assess(step(seq, t)).value


def test_the_goal_is_the_stream_files_until_one_is_set(tmp_path):
    made = checkpoint(tmp_path / "m")
    seq = recording(3, False)
    plain = Assessor(made).run(seq).value
    told = Assessor(made, task="pick", context={"sku": "A7"})
    np.testing.assert_array_equal(told.run(seq).value, plain)
    told.set_task("fold the towel")
    other = told.run(seq)
    assert np.abs(other.value - plain).max() > 1e-3
    same(told.assess(step(seq, 0)), other, 0)
    told.set_task()
    np.testing.assert_array_equal(told.run(seq).value, plain)


def test_a_run_follows_the_goals_of_the_episodes(tmp_path):
    made = checkpoint(tmp_path / "m")
    seq = recording(8, False, tasks=("fold", "stack"))
    whole = Assessor(made).run(seq)
    stepping = Assessor(made)
    for t in range(8):
        stepping.set_task("fold" if t < 4 else "stack")
        same(stepping.assess(step(seq, t)), whole, t)
    assert np.abs(Assessor(made, task="fold").run(seq).value - whole.value)[4:].max() > 1e-3


def test_a_held_frame_passes_the_backbone_once_even_if_its_memory_is_reused(tmp_path, monkeypatch):
    assessor = Assessor(checkpoint(tmp_path / "m", seeing=True))
    calls = []
    original = assessor.operator.frame_features
    monkeypatch.setattr(
        assessor.operator, "frame_features", lambda f: calls.append(1) or original(f)
    )
    seq = recording(1, True)
    frame = np.zeros((3, 16, 16), dtype=np.uint8)
    said = []
    for value in (0, 0, 200, 200, 0):
        frame[:] = value
        now = step(seq, 0, restart=True)
        now.frames["wrist"] = frame
        said.append(assessor.assess(now).value)
    assert len(calls) == 3
    assert said[0] == said[1] == said[4] != said[2] == said[3]


def test_an_empty_sequence_gives_empty_assessments(tmp_path):
    said = Assessor(checkpoint(tmp_path / "m")).run(recording(0, False))
    assert len(said) == 0
    assert said.risk.shape == (0, 3)
    assert said.mode_distribution.shape == (0, 2)


def test_values_beyond_the_training_data_are_counted(tmp_path):
    assessor = Assessor(checkpoint(tmp_path / "m"))
    now = step(recording(1, False), 0)
    for mask in now.mask.values():
        mask[:] = True
    for values in now.values.values():
        values[:] = 0
    assert assessor.out_of_range(now) == 0.0
    now.values["state"][0] = 99.0
    assert assessor.out_of_range(now) == pytest.approx(1 / 5)
    now.mask["state"][0] = False
    assert assessor.out_of_range(now) == 0.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_numbers_of_the_cpu(tmp_path):
    made = checkpoint(tmp_path / "m", seeing=True)
    seq = recording(30, True)
    expected = Assessor(made).run(seq)
    gpu = Assessor(made, device="cuda")
    whole = gpu.run(seq)
    for t in range(30):
        for name, value in vars(expected.at(t)).items():
            np.testing.assert_allclose(getattr(whole.at(t), name), value, atol=1e-3)
        same(gpu.assess(step(seq, t)), whole, t)
