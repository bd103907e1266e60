"""Ions and instruments that are told apart; what is stored of each is its code."""

from __future__ import annotations

__all__ = ["INSTRUMENTS", "IONS"]

IONS = (
    "[M+H]+",
    "[M+Na]+",
    "[M-H]-",
    "[M+NH4]+",
    "[M+K]+",
    "[M+HCOO]-",
    "[M+H-H2O]+",
    "[M+CH3COO]-",
    "[M+Na-2H]-",
    "[M-CH3]-",
    "[M]+",
    "[M+2Na-H]+",
    "[M+Cl]-",
    "[M+2H]2+",
)
"""Ions that are told apart, the commonest of C3SDB first; code i + 1 is stored."""

INSTRUMENTS = ("DT", "TW", "TIMS")
"""Drift tube, travelling wave, trapped ion mobility; code i + 1 is stored, 0 where the instrument is not known."""
