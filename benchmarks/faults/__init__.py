"""Drills of faults against the real project: `python -m benchmarks.faults`."""
