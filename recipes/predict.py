"""For `accelerate launch recipes/predict.py`, which runs what `tl-toolkit predict` runs; --help shows its flags."""

from tl_toolkit.cli import main

if __name__ == "__main__":
    main("predict")
