"""Speed and memory, as ratios against what a user would pick instead; measured by hand, never in a test.

Each module named here has a ``TITLE``, a ``TEXT`` and ``measure(device, *, small)``, which returns rows of JSON: what
was compared (``case``), and what `timing.compare` returns, or other figures by name.
"""

BENCHMARKS = (
    "aimnet2",
    "conformers",
    "dimenetpp",
    "embed",
    "loading",
    "losses",
    "memory",
    "processes",
    "retrieval",
    "startup",
)
