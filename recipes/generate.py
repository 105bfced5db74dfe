"""For `accelerate launch recipes/generate.py`, which runs what `tl-toolkit generate` runs; --help shows its flags."""

from tl_toolkit.cli import main

if __name__ == "__main__":
    main("generate")
