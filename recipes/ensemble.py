"""For `accelerate launch recipes/ensemble.py`, which runs what `tl-toolkit ensemble` runs; --help shows its flags."""

from tl_toolkit.cli import main

if __name__ == "__main__":
    main("ensemble")
