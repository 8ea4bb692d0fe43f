"""How many lines of the protocol the seeds and corpora reach, all targets together."""

import json
import subprocess
import sys
from pathlib import Path

# What is measured, and the least part of its lines that must be reached.
MEASURED = "engine/src/protocol/"
LEAST = 0.95

# By file, the lines that have code, and whether they were reached.
Lines = dict[Path, dict[int, bool]]


def measure(fuzz: Path, target_dir: Path, targets: list[str]) -> bool:
    """Prints the coverage file by file, with the lines that nothing reached."""
    reached: Lines = {}
    for name in targets:
        # Each program's profile is read with that program: what the compiler made of a function
        # differs between them.
        for path, lines in reached_by(name, fuzz, target_dir / "coverage").items():
            known = reached.setdefault(path, {})
            for number, is_reached in lines.items():
                known[number] = known.get(number, False) or is_reached
    return report(reached, fuzz.parent)


def reached_by(name: str, fuzz: Path, target_dir: Path) -> Lines:
    corpus, seeds = fuzz / "corpus" / name, fuzz / "seeds" / name
    corpus.mkdir(parents=True, exist_ok=True)
    install_tools()
    command = ["cargo", "+nightly", "fuzz", "coverage", "--fuzz-dir", fuzz]
    command += ["--target-dir", target_dir, name, corpus, seeds]
    # It names every input; that is worth reading only where it ends badly.
    run = subprocess.run(command, capture_output=True, check=False, cwd=fuzz.parent)
    if run.returncode != 0:
        sys.exit(run.stderr.decode(errors="replace")[-4000:])
    profile = fuzz / "coverage" / name / "coverage.profdata"
    [program] = target_dir.glob(f"**/release/{name}")
    command = [tools() / "llvm-cov", "export", f"--instr-profile={profile}", program]
    [data] = json.loads(subprocess.check_output(command))["data"]
    files = ((Path(file["filename"]), file["segments"]) for file in data["files"])
    return {path: lines_of(segments) for path, segments in files if MEASURED in str(path)}


def tools() -> Path:
    command = ["rustc", "+nightly", "--print", "target-libdir"]
    return Path(subprocess.check_output(command, text=True).strip()).parent / "bin"


def install_tools() -> None:
    if not (tools() / "llvm-cov").exists():
        install = ["rustup", "component", "add", "--toolchain", "nightly", "llvm-tools"]
        subprocess.run(install, check=True)


def lines_of(segments: list) -> dict[int, bool]:
    """A line is reached when any region on it, or the one that goes on over it, is."""
    lines: dict[int, bool] = {}
    for (line, _, count, has_count, _, is_gap), (until, *_) in zip(segments, segments[1:]):
        if not has_count or is_gap:
            continue
        for number in range(line, until + 1):
            lines[number] = lines.get(number, False) or count > 0
    return lines


def report(files: Lines, root: Path) -> bool:
    total = reached = 0
    for path, lines in sorted(files.items()):
        missed = [number for number, is_reached in sorted(lines.items()) if not is_reached]
        total += len(lines)
        reached += len(lines) - len(missed)
        share = 1 - len(missed) / len(lines)
        print(f"{share:7.1%} {path.relative_to(root)} {' '.join(map(str, missed))}")
    share = reached / total
    print(f"{share:7.1%} of {total:,} lines of {MEASURED}; the least is {LEAST:.0%}")
    return share >= LEAST
