"""How many lines of the protocol the seeds and corpora reach."""

import json
import subprocess
from pathlib import Path

# What is measured, and the least part of its lines that must be reached.
MEASURED = "engine/src/protocol/"
LEAST = 0.95


def measure(fuzz: Path, target_dir: Path, targets: list[str]) -> bool:
    """Prints the coverage file by file, with the lines that nothing reached."""
    profiles, programs = [], []
    for name in targets:
        folders = [fuzz / "corpus" / name, fuzz / "seeds" / name]
        command = ["cargo", "+nightly", "fuzz", "coverage", "--fuzz-dir", fuzz]
        command += ["--target-dir", target_dir / "coverage", name]
        subprocess.run([*command, *folders], check=True, cwd=fuzz.parent, capture_output=True)
        profiles.append(fuzz / "coverage" / name / "coverage.profdata")
        programs += (target_dir / "coverage").glob(f"**/release/{name}")
    merged = fuzz / "coverage" / "all.profdata"
    subprocess.run([tool("llvm-profdata"), "merge", "-o", merged, *profiles], check=True)
    counts = lines_reached(merged, programs)
    return report(counts, fuzz.parent)


def tool(name: str) -> Path:
    """A tool of the component llvm-tools, which is installed if it is missing."""
    sysroot = subprocess.check_output(["rustc", "+nightly", "--print", "sysroot"], text=True)
    found = list(Path(sysroot.strip()).glob(f"lib/rustlib/*/bin/{name}"))
    if found:
        return found[0]
    install = ["rustup", "component", "add", "--toolchain", "nightly", "llvm-tools"]
    subprocess.run(install, check=True)
    return tool(name)


def lines_reached(profile: Path, programs: list[Path]) -> dict[Path, dict[int, bool]]:
    """By file, the lines that have code, and whether any target reached them."""
    command = [tool("llvm-cov"), "export", "--format=text", f"--instr-profile={profile}"]
    command += [programs[0], *(f"--object={program}" for program in programs[1:])]
    [data] = json.loads(subprocess.check_output(command))["data"]
    reached = {}
    for file in data["files"]:
        if MEASURED in file["filename"]:
            reached[Path(file["filename"])] = lines_of(file["segments"])
    return reached


def lines_of(segments: list) -> dict[int, bool]:
    """A line is reached when any region on it, or the one that goes on over it, is."""
    lines: dict[int, bool] = {}
    for (line, _, count, has_count, _, is_gap), (until, *_) in zip(segments, segments[1:]):
        if not has_count or is_gap:
            continue
        for number in range(line, until + 1):
            lines[number] = lines.get(number, False) or count > 0
    return lines


def report(files: dict[Path, dict[int, bool]], root: Path) -> bool:
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
