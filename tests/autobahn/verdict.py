"""What a run came to."""

import sys
from collections import Counter, defaultdict

COLUMNS = ["OK", "INFORMATIONAL", "NON-STRICT", "FAILED"]
PASSED = {"OK", "INFORMATIONAL"}
COMPRESSION_GROUPS = {12, 13}
MISSING = "missing from the report"


def numbers(case: str) -> list[int]:
    return [int(number) for number in case.split(".")]


def group(case: str) -> int:
    return numbers(case)[0]


def judge(case: str, report: dict | None, compression: bool) -> tuple[str, str | None]:
    """The column that a case belongs in, and what is wrong with it."""
    if report is None:
        return "FAILED", MISSING
    behavior, close = report["behavior"], report["behaviorClose"]
    what = f"{behavior}, closing {close}, close code {report['remoteCloseCode']}"
    if group(case) in COMPRESSION_GROUPS and not compression:
        # Anything else would mean that compression was agreed upon all the same.
        if behavior == "UNIMPLEMENTED":
            return behavior, None
        return "FAILED", what
    if behavior not in COLUMNS or close not in PASSED:
        return "FAILED", what
    return behavior, None if behavior in PASSED else what


def print_table(role: str, cases: list[str], reports: dict[str, dict], compression: bool) -> bool:
    """Prints what became of `cases`, and returns whether all of them passed."""
    groups: dict[int, Counter] = defaultdict(Counter)
    faults = []
    for case in sorted(cases, key=numbers):
        column, fault = judge(case, reports.get(case), compression)
        groups[group(case)][column] += 1
        if fault:
            faults.append((case, fault, reports.get(case, {}).get("page", "")))
    columns = COLUMNS if compression else [*COLUMNS, "UNIMPLEMENTED"]
    total = sum(groups.values(), Counter())
    print(f"\n{role}, compression {'on' if compression else 'off'}")
    print(row("group", ["cases", *columns]))
    for number, counts in groups.items():
        print(row(f"{number}.*", [counts.total(), *(counts[column] for column in columns)]))
    print(row("all", [total.total(), *(total[column] for column in columns)]))
    for case, fault, page in faults:
        if fault != MISSING:
            print(f"{case}: {fault}, {page}")
    if missing := [case for case, fault, _ in faults if fault == MISSING]:
        print(f"{MISSING}: {', '.join(missing)}")
    sys.stdout.flush()
    return not faults


def row(name: str, cells: list) -> str:
    return f"{name:>6}" + "".join(f"{cell:>15}" for cell in cells)
