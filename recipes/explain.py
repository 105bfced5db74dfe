"""tl-toolkit explain, as a script for accelerate launch."""

from tl_toolkit.cli import main

if __name__ == "__main__":
    main("explain")
