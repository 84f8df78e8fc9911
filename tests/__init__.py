"""The tests. A package, so that they can share `tests.support`; pytest then puts the checkout's root on the path."""
