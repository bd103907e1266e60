"""The tables of accuracy: `tables` says what, `runner` measures it, `python -m benchmarks.accuracy` starts."""
