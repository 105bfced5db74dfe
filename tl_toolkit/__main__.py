"""`python -m tl_toolkit VERB` and `accelerate launch -m tl_toolkit VERB` run what `tl-toolkit VERB` runs."""

from tl_toolkit.cli import main

if __name__ == "__main__":
    main()
