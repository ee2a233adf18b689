"""One script per claim: ``python -m benchmarks.models`` and so on, from the root; each prints a table and writes JSON.

Figures on record are in ``results``. Times are only ever compared within one run, interleaved.
"""
