"""For `accelerate launch recipes/pretrain.py`, which runs what `tl-toolkit pretrain` runs; --help shows its flags."""

from tl_toolkit.cli import main

if __name__ == "__main__":
    main("pretrain")
