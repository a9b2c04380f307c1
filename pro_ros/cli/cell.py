"""``pro-ros cell``: the simulated picking cell; a fleet of them, and what they consist of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pro_ros.cli.console import (
    Column,
    JsonOption,
    note,
    print_json,
    progress,
    say,
    table,
)
from pro_ros.errors import SpecError

if TYPE_CHECKING:
    from pro_ros.cell.catalogue import Catalogue
    from pro_ros.cell.fleet import Fleet, FleetRequest
    from pro_ros.cell.loop import TaskResult
    from pro_ros.cell.request import Care

GATE = "config/cell/gate.yaml"

app = typer.Typer(
    help="The simulated picking cell.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

CellOption = Annotated[
    Path | None, typer.Option("--cell", help="Cell file (YAML); default: the one that ships.")
]


class Policy(str, Enum):
    """What follows a failure."""

    PLAIN = "plain"
    RETRY = "retry"
    CAREFUL = "careful"
    MIXED = "mixed"


CARE: Final[dict[Policy, Care]] = {
    Policy.PLAIN: "none", Policy.RETRY: "none", Policy.CAREFUL: "all", Policy.MIXED: "half",
}  # fmt: skip


@app.command("run")
def run(
    output: Annotated[Path, typer.Option("--out", "-o", help="Folder of the fleet.")],
    sites: Annotated[
        list[str] | None,
        typer.Option("--site", help="A site, again for more; default: those not held out."),
    ] = None,
    tasks: Annotated[int, typer.Option(min=1, help="Tasks at each site.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of the first task; the others count up.")] = 0,
    jobs: Annotated[int, typer.Option(min=0, help="Processes; default: one per core.")] = 0,
    items: Annotated[
        list[str] | None,
        typer.Option("--item", help="A SKU that may be ordered, again for more."),
    ] = None,
    held_out: Annotated[
        bool,
        typer.Option(
            "--held-out", help="For judging: held-out sites unless --site, held-out items too."
        ),
    ] = False,
    policy: Annotated[
        Policy,
        typer.Option(
            help="plain: one attempt. retry: notices a failure at the end, tries again. careful: "
            "with more care then. mixed: so in every other task."
        ),
    ] = Policy.RETRY,
    attempts: Annotated[
        int | None, typer.Option(min=1, help="Most attempts; default: as in the gate file.")
    ] = None,
    no_record: Annotated[
        bool, typer.Option("--no-record", help="Write results only, no bags.")
    ] = False,
    camera: Annotated[
        bool, typer.Option("--camera", help="Render the camera, too; many times slower.")
    ] = False,
    cell: CellOption = None,
    gate: Annotated[
        Path | None, typer.Option(help="Gate file (YAML); default: the cell's own.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run picking tasks at simulated sites, and record a bag of each.

    The same seeds give the same bytes, whatever the number of processes. The same command goes on
    where it was ended, and with more tasks or sites it adds them.
    """
    if policy is Policy.PLAIN and attempts not in (None, 1):
        raise SpecError(f"--attempts {attempts}: the plain policy makes one attempt")
    from pro_ros.cell.catalogue import load_catalogue

    catalogue = load_catalogue(cell)
    chosen = _chosen(catalogue, sites or [], items or [], held_out)
    with progress("starting", None):
        from pro_ros.cell.fleet import FleetRequest
        from pro_ros.gate.config import load_gate_config
        from pro_ros.paths import share_file

    request = FleetRequest(
        catalogue=catalogue,
        gate=load_gate_config(gate or share_file(GATE)),
        out=output,
        sites=chosen,
        tasks_per_site=tasks,
        first_seed=seed,
        items=tuple(items) if items else None,
        held_out=held_out,
        attempts=1 if policy is Policy.PLAIN else attempts,
        care=CARE[policy],
        record=not no_record,
        camera=camera,
        jobs=jobs,
    )
    _show(request, _run(request), as_json)


def _chosen(
    catalogue: Catalogue, sites: Sequence[str], items: Sequence[str], held_out: bool
) -> tuple[str, ...]:
    """The sites to run at: those given, or those of the kind that have one of the items.

    Raises
    ------
    SpecError
        A site or an item is unknown, or none is left.
    """
    for sku in items:
        catalogue.item(sku)
    for site in sites:
        catalogue.site(site)
    if sites:
        return tuple(dict.fromkeys(sites))
    kind = catalogue.held_out.sites if held_out else catalogue.training_sites()
    found = tuple(s for s in kind if not items or set(items) & set(catalogue.site(s).items))
    if not found:
        which = "that is held out" if held_out else "that is not held out"
        having = f" has one of the items ({', '.join(items)})" if items else ""
        raise SpecError(f"no site {which}{having}: give --site")
    return found


def _run(request: FleetRequest) -> Fleet:
    """Run the fleet behind a progress bar; what ends it early is told how far it came."""
    from pro_ros.cell.fleet import run_fleet

    total = len(request.sites) * request.tasks_per_site
    done = 0
    with progress("tasks", total) as bar:

        def advance(count: int, name: str) -> None:
            nonlocal done
            done = count
            bar(count, name)

        try:
            return run_fleet(request, advance, note)
        except BaseException:
            if done:
                note(f"{done} of {total} tasks are done; the same command goes on with the rest")
            raise


COLUMNS: tuple[tuple[str, Callable[[Sequence[TaskResult]], str]], ...] = (
    ("tasks", lambda found: str(len(found))),
    ("success", lambda found: _share(sum(r.success for r in found), len(found))),
    ("retries", lambda found: str(sum(r.retries for r in found))),
    ("drops", lambda found: str(_failures(found)["drop"])),
    ("misses", lambda found: str(_failures(found)["miss"])),
    ("jams", lambda found: str(_failures(found)["jam"])),
    ("doubles", lambda found: str(_failures(found)["double_pick"])),
)
"""Of the table of sites; failures are counted over all attempts."""


def _show(request: FleetRequest, fleet: Fleet, as_json: bool) -> None:
    if as_json:
        print_json(_document(request, fleet))
        return
    groups = {site: [r for r in fleet.results if r.site == site] for site in request.sites}
    rows = [
        [site, *(cell(found) for _, cell in COLUMNS), _speed(fleet.speed(site))]
        for site, found in groups.items()
    ]
    if len(rows) > 1:
        whole = [cell(fleet.results) for _, cell in COLUMNS]
        rows.append(["all", *whole, _speed(fleet.speed())])
    titles = [Column(title, right=True) for title, _ in COLUMNS]
    table([Column("site"), *titles, Column("x real time", right=True)], rows)
    say("")
    ran = len(fleet.results) - fleet.resumed
    say(
        f"{request.out}: {ran} tasks in {fleet.elapsed:.1f} s"
        + (f", {fleet.resumed} were there already" if fleet.resumed else "")
        + (f", {len(fleet.diverged)} diverged" if fleet.diverged else "")
    )


def _document(request: FleetRequest, fleet: Fleet) -> dict[str, Any]:
    return {
        "out": str(request.out),
        "seconds": fleet.elapsed,
        "resumed": fleet.resumed,
        "diverged": list(fleet.diverged),
        "sites": {
            site: _site_document([r for r in fleet.results if r.site == site], fleet.speed(site))
            for site in request.sites
        },
    }


def _site_document(found: Sequence[TaskResult], speed: float) -> dict[str, Any]:
    return {
        "tasks": len(found),
        "successes": sum(r.success for r in found),
        "retries": sum(r.retries for r in found),
        "failures": dict(sorted(_failures(found).items())),
        "real_time_factor": None if math.isnan(speed) else speed,
    }


def _failures(found: Sequence[TaskResult]) -> Counter[str]:
    return Counter(mode for r in found for a in r.attempts for mode, _ in a.failures)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _speed(factor: float) -> str:
    return "-" if math.isnan(factor) else f"{factor:.1f}"


@app.command("list")
def list_(cell: CellOption = None, as_json: JsonOption = False) -> None:
    """Show the sites and items of a cell file, and which are held out."""
    from pro_ros.cell.catalogue import load_catalogue

    catalogue = load_catalogue(cell)
    if as_json:
        print_json(catalogue.model_dump(mode="json"))
        return
    say("sites: what differs from the defaults", style="bold")
    table([Column("site"), Column("held out"), Column("items", right=True), Column("varies")],
          _sites(catalogue), indent=2)  # fmt: skip
    say("")
    say("items", style="bold")
    table(
        [
            Column("SKU"), Column("held out"), Column("shape"), Column("size [cm]", right=True),
            Column("mass [kg]", right=True), Column("at"), Column("varies"),
        ],
        _items(catalogue),
        indent=2,
    )  # fmt: skip


def _sites(catalogue: Catalogue) -> list[list[str]]:
    return [
        [
            name,
            _yes(name in catalogue.held_out.sites),
            str(len(site.items)),
            _differences(site, ("items",)),
        ]
        for name, site in catalogue.sites.items()
    ]


def _items(catalogue: Catalogue) -> list[list[str]]:
    rows = []
    for sku, item in catalogue.items.items():
        where = [name for name, site in catalogue.sites.items() if sku in site.items]
        rows.append(
            [
                sku,
                _yes(sku in catalogue.held_out.items),
                item.shape,
                " x ".join(f"{100 * side:g}" for side in item.size),
                f"{item.mass:g}",
                " ".join(where) or "-",
                _differences(item, ("words", "shape", "size", "mass")),
            ]
        )
    return rows


def _differences(entry: Any, shown: tuple[str, ...]) -> str:
    """Keys that are not at their defaults, other than those shown elsewhere."""
    texts = []
    for name, field in type(entry).model_fields.items():
        value = getattr(entry, name)
        if name in shown or value == field.default:
            continue
        if isinstance(value, bool):
            texts.append(name)
        elif isinstance(value, tuple):
            texts.append(f"{name} {'-'.join(f'{v:g}' for v in value)}")
        else:
            texts.append(f"{name} {value:g}")
    return ", ".join(texts)


def _yes(held: bool) -> str:
    return "yes" if held else ""
