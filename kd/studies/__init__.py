"""Studies: declared.py says what is run, runs.py plans, measure.py measures, ledger.py stores, report.py tells."""
