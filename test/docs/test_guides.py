"""The guides show what is there: programs that are run in test/nodes, lines that the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("language", "file"), [("python", "read_risk.py"), ("cpp", "read_risk.cpp")]
)
def test_the_guide_shows_the_program_that_is_tested(language: str, file: str) -> None:
    text = (ROOT / "docs" / "guides" / "read-risk.md").read_text(encoding="utf-8")
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)
    assert blocks == [(ROOT / "examples" / "read_risk" / file).read_text(encoding="utf-8")]


def test_lines_that_the_guide_explains_are_those_of_the_code() -> None:
    source = "\n".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "pro_ros").rglob("*.py"))
    )
    # Texts go over several lines of code.
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    page = (ROOT / "docs" / "guides" / "wire-your-robot.md").read_text(encoding="utf-8")
    table = page.partition("| Line | What it means |")[2].partition("\n\n")[0]
    lines = re.findall(r"^\| `([^`]+)` \|", table, re.M)
    assert len(lines) > 10
    for line in lines:
        # What stands between names, numbers, and the transition that failed.
        cuts = r"…|'[\w/]+'|\d[\d.]*|configure"
        pieces = [piece.strip(" :;") for piece in re.split(cuts, line)]
        for piece in pieces:
            if len(piece) > 3:
                assert piece in source, f"{piece} of: {line}"
