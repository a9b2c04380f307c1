"""``pro-ros demo --cell``: a few picks of the simulated cell, live, and the report."""

from __future__ import annotations

import threading
import time
import webbrowser
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pro_ros.cli.cell_view import StoppedError, View, make_view
from pro_ros.cli.console import Column, note, out, progress, say, table
from pro_ros.cli.output import check_output
from pro_ros.errors import SpecError

if TYPE_CHECKING:
    from pro_ros.cell.demonstration import Demonstration
    from pro_ros.cell.loop import Listener, TaskResult
    from pro_ros.cell.picks import Pick
    from pro_ros.cell.results import ClosedLoop
    from pro_ros.cell.rows import Film
    from pro_ros.cell.sensors import Reading
    from pro_ros.episodes.marks import Mark

CHECKPOINT: Final = "examples/cell/checkpoint"
GATE_FILE: Final = "config/cell/gate.yaml"
OUTPUT = ("cell demo", "closed_loop.json")
"""What the folder is known by."""
BAG_NAME: Final = "pick"


def run(
    output: Path, checkpoint: Path | None, pace: float, overwrite: bool, open_report: bool
) -> None:
    """Run the demo of the cell.

    Parameters
    ----------
    output
        Folder of the report and of a bag.
    checkpoint
        PRO's; None: the one that ships.
    pace
        Simulated seconds per second on the terminal; 0: as fast as it goes.

    Raises
    ------
    SpecError
        MuJoCo is missing.
    CheckpointError
        The checkpoint is missing, damaged, or made for another robot.
    StorageError
        The folder exists, or nothing can be written.
    """
    begun = time.perf_counter()
    check_output(output, overwrite, OUTPUT, [] if checkpoint is None else [checkpoint])
    with progress("starting", None):
        from pro_ros.cell import demonstration as demo
        from pro_ros.cell import picks as picking
        from pro_ros.cell.catalogue import load_catalogue
        from pro_ros.cell.report import write_report
        from pro_ros.cell.results import write_json
        from pro_ros.files import atomic_dir
        from pro_ros.gate.config import load_gate_config
        from pro_ros.paths import share_file

        path = share_file(CHECKPOINT) if checkpoint is None else checkpoint
        model_id = demo.check_checkpoint(path).model_id
        catalogue = load_catalogue()
        gate = load_gate_config(share_file(GATE_FILE))
    if not catalogue.held_out.sites:
        raise SpecError("the cell file holds no site out: there is none to show")
    asked = demo.Demonstration(catalogue, gate, path, catalogue.held_out.sites[0])
    results = _run_all(asked, model_id)
    picks = picking.choose_picks(results)
    _say_what_to_see(results, picks)
    with atomic_dir(output, overwrite=overwrite) as staged:
        films = _show(asked, results, picks, pace, staged)
        results = demo.finished(results, films, picks, time.perf_counter() - begun)
        write_report(results, staged / "report.html")
        write_json(results, staged / "closed_loop.json")
    _conclude(output, path, results, films)
    if open_report:
        webbrowser.open((output / "report.html").absolute().as_uri())


def _run_all(asked: Demonstration, model_id: str) -> ClosedLoop:
    from pro_ros.cell import demonstration as demo

    held = set(asked.catalogue.held_out.items) & set(asked.catalogue.site(asked.site).items)
    _step(1, f"{asked.tasks} picks at the site '{asked.site}', each of them three times")
    say("   Left alone; with failures noticed at the end; with PRO's gate.")
    say(f"   The site and {len(held)} of its items are held out: no training fleet has them.")
    found: list[tuple[demo.Run, TaskResult | None]] = []
    with progress("picks", 3 * asked.tasks) as bar:
        for run, result in demo.run_tasks(asked):
            found.append((run, result))
            bar(len(found))
    return demo.collect(asked, found, model_id)


def _say_what_to_see(results: ClosedLoop, picks: list[Pick]) -> None:
    """What the runs came to, and what of it is shown."""
    from pro_ros.cell import picks as picking

    both = picking.rows_together(results)
    wrong = [(alone, gated) for alone, gated in both if picking.goes_wrong(alone)]
    caught = sum(picking.is_caught(alone, gated) for alone, gated in wrong)
    false = sum(picking.is_false_stop(alone, gated) for alone, gated in both)
    say(f"   Left alone, {len(wrong)} of {len(both)} first attempts go wrong.")
    say(f"   PRO's gate stops {caught} of these in time, and {false} that would have gone well.")
    if not any(pick.caught for pick in picks):
        note("with this checkpoint no failure is caught in time and mended: see for yourself")


def _show(
    asked: Demonstration, results: ClosedLoop, picks: list[Pick], pace: float, folder: Path
) -> list[Film]:
    """Show the picks while other processes film them."""
    from pro_ros.cell import demonstration as demo
    from pro_ros.workers import one_thread

    _step(2, f"{len(picks)} of them, live (simulated again from the same seeds)")
    over, filmed = threading.Event(), threading.Event()
    view = make_view(out, pace, over)
    films: list[Film] = []
    failed: list[BaseException] = []

    def show() -> None:
        try:
            with one_thread():
                _show_picks(asked, results, picks, view, folder)
            with progress("videos", demo.film_count(picks)) as bar:
                while not filmed.wait(0.1):
                    bar(len(films))
        except StoppedError:
            pass
        except BaseException as error:
            failed.append(error)
        finally:
            view.close()

    # Signals come to this thread, and it is the one that can end the films' processes.
    shower = threading.Thread(target=show, name="show")
    shower.start()
    try:
        with closing(demo.films(asked, picks)) as working:
            for film in working:
                films.append(film)
                if failed:
                    break
        filmed.set()
        shower.join()
    except BaseException:
        over.set()
        raise
    finally:
        filmed.set()
        shower.join()
    if failed:
        raise failed[0]
    for words in dict.fromkeys(film.note for film in films if film.note):
        note(words)
    return films


def _show_picks(
    asked: Demonstration, results: ClosedLoop, picks: list[Pick], view: View, folder: Path
) -> None:
    """Run the picks again, to be looked at, and record one."""
    from pro_ros.cell import picks as picking
    from pro_ros.cell.bags import EpisodeBag
    from pro_ros.cell.loop import TaskRun
    from pro_ros.cell.request import gate_of
    from pro_ros.cell.spectator import Spectator

    rows = {task.seed: task for task in results.variant(picking.GATE).tasks}
    recorded = next((pick for pick in picks if pick.caught), picks[-1])
    request = asked.request(picking.GATE)
    for number, pick in enumerate(picks, start=1):
        task, gate = asked.task(pick.seed), gate_of(request)
        spectator = Spectator(request.watch.make(), task, gate, pick.alone, view.show)
        with ExitStack() as stack:
            listeners: list[Listener] = [spectator.listen]
            if pick is recorded:
                about = {"robot": f"{task.site}-1", "task": f"{task.site}-{task.seed:06d}"}
                bag = stack.enter_context(EpisodeBag(folder / BAG_NAME, about))
                listeners.append(bag.take)
            view.begin(number, len(picks), pick.why, spectator, rows[pick.seed])
            run = TaskRun(request.catalogue, task, gate, spectator, listener=_both(listeners))
            spectator.finish(run.run())
            view.end()


def _both(listeners: Sequence[Listener]) -> Listener:
    def listen(told: Reading | Mark) -> None:
        for listener in listeners:
            listener(told)

    return listen


WAYS: Final[tuple[Column, ...]] = (
    Column("way"), Column("done", right=True), Column("items dropped", right=True),
    Column("retries", right=True), Column("time per success", right=True),
)  # fmt: skip


def _conclude(output: Path, checkpoint: Path, results: ClosedLoop, films: list[Film]) -> None:
    _step(3, "the same picks, three ways")
    rows = []
    for variant in results.variants:
        tasks = variant.tasks
        done = sum(task.success for task in tasks)
        seconds = sum(task.duration for task in tasks)
        rows.append(
            [
                variant.name,
                f"{done} of {len(tasks)}",
                str(sum(task.drops for task in tasks)),
                str(sum(task.retries for task in tasks)),
                f"{seconds / done:.1f} s" if done else "-",
            ]
        )
    table(WAYS, rows, indent=3)
    say("   So few say little: docs/benchmarks/closed_loop.md has hundreds of picks.")
    say("")
    videos = sum(bool(film.video) for film in films)
    with_videos = f", with {videos} video{'' if videos == 1 else 's'}" if videos else ""
    say(f"Open {output / 'report.html'} in a browser{with_videos}.", style="bold")
    say("What PRO says of a recorded pick, as a bag for Foxglove or PlotJuggler:")
    say(f"  pro-ros replay {output / BAG_NAME} {checkpoint} --out {output}_replayed")


def _step(number: int, words: str) -> None:
    say("")
    say(f"{number}. {words}", style="bold")
