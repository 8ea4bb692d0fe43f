"""Processes of the suite talk to Throng, several pairs at once."""

import json
import os
import shutil
import subprocess
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Timer
from typing import TextIO

import suite
import verdict

AGENT = "throng"
# One more than cores, since cases of the small groups mostly wait.
PAIRS = (os.cpu_count() or 1) + 1
# Seconds that a server may take until it listens.
PATIENCE = 60
LONGEST_FIRST = [12, 13, 9, 6, 10, 7, 5, 4, 3, 2, 1]


class Talk:
    """All cases for one role of Throng's, in parts that have a server and a client each."""

    def __init__(self, role: str, program: list, python: Path, folder: Path, deadline: float):
        self.role = role
        self.program = program
        self.python = python
        self.folder = folder
        # By the monotonic clock.
        self.deadline = deadline
        # What went wrong beside the cases.
        self.complaints: list[str] = []

    def about(self, cases: list[str]) -> dict[str, dict]:
        """Runs the cases and returns the suite's reports, by case."""
        shutil.rmtree(self.folder, ignore_errors=True)
        parts = divide(cases)
        with ThreadPoolExecutor(PAIRS) as pool:
            reports = list(pool.map(self.part, parts.keys(), parts.values()))
        for complaint in self.complaints:
            print(complaint, flush=True)
        return {case: report for part in reports for case, report in part.items()}

    def part(self, name: str, cases: list[str]) -> dict[str, dict]:
        folder = self.folder / name
        folder.mkdir(parents=True)
        begun = time.monotonic()
        with open(folder / "log", "w", encoding="utf-8") as log:
            try:
                self.pair(folder, cases, log)
            except (OSError, subprocess.SubprocessError) as error:
                self.complaints.append(f"{self.role} {name}: {error}, see {folder / 'log'}")
        index = folder / "index.json"
        reports = json.loads(index.read_text()).get(AGENT, {}) if index.is_file() else {}
        for report in reports.values():
            report["page"] = (folder / report["reportfile"]).with_suffix(".html")
        seconds = time.monotonic() - begun
        print(f"{self.role} {name}: {len(reports)} cases in {seconds:.0f} s", flush=True)
        return reports

    def pair(self, folder: Path, cases: list[str], log: TextIO) -> None:
        """A server and a client, until the client is done."""
        spec = {"outdir": str(folder), "cases": cases}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log, "text": True}
        with subprocess.Popen(self.listener(folder, spec), **pipes) as listener:
            try:
                address = first_line(listener)
                if not address:
                    raise OSError("no server listens")
                client = self.client(folder, spec, address)
                subprocess.run(client, check=True, stdout=log, stderr=log, timeout=self.left())
                listener.stdin.close()
                listener.wait(self.left())
            except:
                listener.kill()
                raise
        if listener.returncode != 0:
            raise subprocess.CalledProcessError(listener.returncode, listener.args)

    def listener(self, folder: Path, spec: dict) -> list:
        """The server's command: it prints its address and ends with its standard input."""
        if self.role == "server":
            return self.program
        return self.fuzz("server", folder, spec)

    def client(self, folder: Path, spec: dict, address: str) -> list:
        """The client's command: it ends when the reports are written."""
        if self.role == "client":
            return [*self.program, address, AGENT]
        servers = [{"agent": AGENT, "url": f"ws://{address}"}]
        return self.fuzz("client", folder, spec | {"servers": servers})

    def fuzz(self, mode: str, folder: Path, spec: dict) -> list:
        path = folder / "spec.json"
        path.write_text(json.dumps(spec))
        return suite.fuzz_command(self.python, mode, path)

    def left(self) -> float:
        return max(0, self.deadline - time.monotonic())


def first_line(program: subprocess.Popen) -> str:
    """What the program prints first; nothing if it ends before, or takes so long that it is ended."""
    deadline = Timer(PATIENCE, program.kill)
    deadline.start()
    try:
        return program.stdout.readline().strip()
    finally:
        deadline.cancel()


def divide(cases: list[str]) -> dict[str, list[str]]:
    """Parts to be run side by side: those that take longest first, and none very long."""
    parts = defaultdict(list)
    for case in sorted(cases, key=lambda case: LONGEST_FIRST.index(verdict.group(case))):
        group, sub, *last = verdict.numbers(case)
        name = str(group)
        if group in verdict.COMPRESSION_GROUPS:
            name += f".{sub}.{'odd' if last[0] % 2 else 'even'}"
        parts[name].append(case)
    return parts
