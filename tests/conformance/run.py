"""`make conformance`: the official suite with and without the gateway, in both eras and across them."""

import argparse
import sys
from pathlib import Path

from tests.conformance.combinations import COMBINATIONS, run_direct, run_through
from tests.conformance.comparison import Row, compared, explanations
from tests.conformance.report import closing_line, progress_lines, save_json, save_table
from tests.conformance.suite import Outcome, installed

__all__ = ["main"]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The MCP conformance suite with and without the gateway.")
    names = [combination.name for combination in COMBINATIONS]
    parser.add_argument("--only", choices=names, action="append", metavar="COMBINATION", help=", ".join(names))
    parser.add_argument("--scenario", help="one scenario only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every row with all of the suite's words")
    return parser.parse_args()


def main() -> int:
    """Run what was asked for; 0 when nothing is lost through the gateway that is not explained."""
    asked = _arguments()
    suite = installed()
    explained = explanations()
    directly: dict[tuple[str, bool], dict[str, Outcome]] = {}
    rows: list[Row] = []
    for combination in COMBINATIONS:
        if asked.only and combination.name not in asked.only:
            continue
        run = (combination.version, bool(combination.clients))
        if run not in directly:
            directly[run] = run_direct(suite, combination, asked.scenario)
        through = run_through(suite, combination, asked.scenario) if directly[run] else {}
        found = compared(combination.name, directly[run], through, explained)
        rows += found
        print(*progress_lines(combination, found), sep="\n", flush=True)
    if asked.json:
        save_json(rows, asked.json)
    if not asked.only and not asked.scenario:
        save_table(rows)
    print(closing_line(rows) or "nothing was run")
    return 0 if rows and all(row.verdict.is_good for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
