"""Make the picture of ``pro-ros demo --cell``: the panel at the end of the first caught pick.

    python docs/images/cell_demo.py docs/images/cell_demo.svg

It takes the shipped checkpoint unless ``--checkpoint`` names another. The same checkpoint gives
the same picture.
"""

from __future__ import annotations

import argparse
import io
import re
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI

from pro_ros.cell import demonstration as demo
from pro_ros.cell import picks as picking
from pro_ros.cell.catalogue import load_catalogue
from pro_ros.cell.loop import TaskRun
from pro_ros.cell.request import gate_of
from pro_ros.cell.spectator import Spectator
from pro_ros.cli.cell_demo import CHECKPOINT, GATE_FILE
from pro_ros.cli.cell_view import panel
from pro_ros.gate.config import load_gate_config
from pro_ros.paths import share_file
from pro_ros.workers import one_thread

WIDTH, HEIGHT = 96, 30


def main() -> None:
    """Run the picks of the demo, draw one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=None)
    given = parser.parse_args()
    checkpoint = given.checkpoint or share_file(CHECKPOINT)
    model_id = demo.check_checkpoint(checkpoint).model_id
    catalogue = load_catalogue()
    gate = load_gate_config(share_file(GATE_FILE))
    asked = demo.Demonstration(catalogue, gate, checkpoint, catalogue.held_out.sites[0])
    results = demo.collect(asked, list(demo.run_tasks(asked)), model_id)
    picks = picking.choose_picks(results)
    number, pick = next((k, p) for k, p in enumerate(picks, start=1) if p.caught)
    request = asked.request(picking.GATE)
    task, gate = asked.task(pick.seed), gate_of(request)
    spectator = Spectator(request.watch.make(), task, gate, pick.alone)
    with one_thread():
        run = TaskRun(catalogue, task, gate, spectator, listener=spectator.listen)
        spectator.finish(run.run())
    row = next(t for t in results.variant(picking.GATE).tasks if t.seed == pick.seed)
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    title = f"{number} of {len(picks)} · {pick.why}"
    console.print(panel(spectator, title, row, WIDTH, HEIGHT))
    # Fonts of the reader's machine: a picture must not fetch any.
    form = re.sub(r"@font-face\s*{{.*?}}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    text = console.export_svg(
        title="pro-ros demo --cell", theme=MONOKAI, code_format=form, unique_id="cell-demo"
    )
    given.picture.write_text(text, encoding="utf-8")
    print(f"{given.picture}: {len(text) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
