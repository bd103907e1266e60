"""Measure speed: ``python -m benchmarks.speed [NAME ...]``; results are JSON files, SPEED.md is made from them."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from collections.abc import Sequence

import torch

from benchmarks.accuracy.__main__ import write
from benchmarks.accuracy.sources import ROOT
from benchmarks.speed import BENCHMARKS
from benchmarks.speed.report import speed_text
from benchmarks.speed.timing import machine

RESULTS = ROOT / "benchmarks" / "speed" / "results"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write one JSON file a benchmark and device, and the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description="Measure speed and memory.")
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=2, help="threads of both sides")
    parser.add_argument("--small", action="store_true", help="small sizes, to see that it runs; nothing is written")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    for name in arguments.names or BENCHMARKS:
        module = importlib.import_module(f"benchmarks.speed.{name}")
        rows = module.measure(arguments.device, small=arguments.small)
        result = {
            "benchmark": name,
            "title": module.TITLE,
            "text": module.TEXT,
            "machine": machine(arguments.device),
            "commit": _commit(),
            "rows": rows,
        }
        print(json.dumps(result, indent=1), file=sys.stderr)
        if not arguments.small:
            write(RESULTS / f"{name}-{arguments.device}.json", result)
    if not arguments.small:
        (RESULTS.parent.parent / "SPEED.md").write_text(speed_text(RESULTS), encoding="utf-8")
    return 0


def _commit() -> str:
    """Name the commit that is measured; `-dirty` where the code is not that of the commit."""
    git = ["git", "-C", str(ROOT)]
    code = ["core", "plugins", ":(glob)benchmarks/**/*.py"]
    name = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", *code], check=False).returncode
    return name.stdout.strip() + ("-dirty" if changed else "")


if __name__ == "__main__":
    sys.exit(main())
