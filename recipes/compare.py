"""For `accelerate launch recipes/compare.py`, which runs what `tl-toolkit compare` runs; --help shows its flags."""

from tl_toolkit.cli import main

if __name__ == "__main__":
    main("compare")
