"""For `accelerate launch recipes/finetune.py`, which runs what `tl-toolkit finetune` runs; --help shows its flags."""

from tl_toolkit.cli import main

if __name__ == "__main__":
    main("finetune")
