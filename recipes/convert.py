"""For `accelerate launch recipes/convert.py`, which runs what `tl-toolkit convert` runs; --help shows its flags."""

from tl_toolkit.cli import main

if __name__ == "__main__":
    main("convert")
