"""The results: lines while it runs, a table that is kept, a file for programs."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.conformance.combinations import COMBINATIONS, Combination
from tests.conformance.comparison import Row, Verdict
from tests.conformance.suite import Outcome

__all__ = ["closing_line", "progress_lines", "save_json", "save_table"]

RESULTS = Path(__file__).parent / "RESULTS.md"
HEAD = """# Conformance: with and without the gateway

Written by `make conformance`; README.md in this folder says how to read it. The suite's version is the one pinned in
suite_package/. *Directly*: suite and reference server, or the suite's own server, without a gateway. *Through*: with a
gateway in between. Numbers are scenarios that pass, and in brackets the checks that succeed.
"""


def _count(outcomes: Sequence[Outcome]) -> str:
    good = sum(outcome.ok for outcome in outcomes)
    return f"{good}/{len(outcomes)} ({sum(outcome.checks for outcome in outcomes)})"


def _counts(rows: Sequence[Row]) -> tuple[str, str]:
    return _count([row.direct for row in rows]), _count([row.through for row in rows])


def progress_lines(combination: Combination, rows: Sequence[Row]) -> Iterable[str]:
    """Yield what to print when a combination is done."""
    direct, through = _counts(rows)
    yield f"  {combination.name:<17} directly {direct:<12} through {through}"
    for row in rows:
        if row.verdict is not Verdict.SAME:
            yield f"    {row.verdict:<9} {row.scenario}"
            if row.verdict is not Verdict.EXPLAINED:
                yield from (f"              {word[:300]}" for word in row.words[:5])


def closing_line(rows: Sequence[Row]) -> str:
    """Return the last line: how many scenarios came through, and how many did not without an explanation."""
    found = {verdict: sum(row.verdict is verdict for row in rows) for verdict in Verdict}
    return ", ".join(f"{number} {verdict}" for verdict, number in found.items() if number)


def _outcome(outcome: Outcome) -> str:
    return f"{'pass' if outcome.ok else 'fail'} ({outcome.checks})"


def _line(row: Row) -> str:
    directly, through = _outcome(row.direct), _outcome(row.through)
    return f"| {row.scenario} | {directly} | {through} | {row.verdict} | {_cell(row.words)} |"


def _cell(words: Sequence[str]) -> str:
    text = "; ".join(words[:2])
    text = text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
    return text if len(text) <= 200 else f"{text[:197]}…"


def save_table(rows: Sequence[Row]) -> None:
    """Write RESULTS.md."""
    lines = [HEAD, "| combination | what | directly | through |", "|---|---|---|---|"]
    tables = []
    for combination in COMBINATIONS:
        of = [row for row in rows if row.combination == combination.name]
        direct, through = _counts(of)
        lines.append(f"| {combination.name} | {combination.meaning} | {direct} | {through} |")
        tables += [
            "",
            f"## {combination.name}",
            "",
            "| scenario | directly | through | verdict | why |",
            "|---|---|---|---|---|",
        ]
        tables += [_line(row) for row in of]
    RESULTS.write_text("\n".join([*lines, *tables]) + "\n", encoding="utf-8")


def save_json(rows: Sequence[Row], path: Path) -> None:
    """Write every row with all the suite's words."""
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
