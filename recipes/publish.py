"""For `accelerate launch recipes/publish.py`, which runs what `tl-toolkit publish` runs; --help shows its flags."""

from tl_toolkit.cli import main

if __name__ == "__main__":
    main("publish")
