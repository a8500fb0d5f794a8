"""Training of the bundled pair from scenes that the project renders itself.

    parafovea train mini
"""
