"""What the talks came to, in a table."""

from talk import Outcome

MARKS = {True: "ok", False: "WRONG", None: "–"}


def show(title: str, outcomes: list[Outcome]) -> None:
    """A row for each talk, a column for each kind of check; then what was wrong."""
    kinds = list(dict.fromkeys(kind(check) for outcome in outcomes for check in outcome.checks))
    ways = ["up", "down"] if any(outcome.passed for outcome in outcomes) else []
    rows = [[title, "compression", *kinds, *(f"KiB {way}" for way in ways)]]
    for outcome in outcomes:
        marks = [mark(outcome, name) for name in kinds]
        traffic = [kibibytes(outcome, way) for way in ways]
        rows.append([outcome.title, outcome.compression, *marks, *traffic])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    for outcome in outcomes:
        for complaint in outcome.complaints:
            print(f"{outcome.title}, {outcome.compression}: {complaint}")
    print(flush=True)


def kind(check: str) -> str:
    """Several messages are one column."""
    return check.split()[0] if check.startswith(("message", "fragments")) else check


def mark(outcome: Outcome, name: str) -> str:
    results = [result for check, result in outcome.checks.items() if kind(check) == name]
    if False in results:
        return MARKS[False]
    return MARKS[True if True in results else None]


def kibibytes(outcome: Outcome, way: str) -> str:
    return str(outcome.passed[way] >> 10) if outcome.passed else "–"


def totals(outcomes: list[Outcome]) -> tuple[int, int]:
    """How many checks passed, and how much went wrong, in them or beside them."""
    passed = sum(list(outcome.checks.values()).count(True) for outcome in outcomes)
    return passed, sum(len(outcome.complaints) for outcome in outcomes)
