"""How accurate memlint is, measured: on mutants of correct programs, on public packages, on labelled defects."""
