"""``python -m polyhead`` is ``polyhead``, for an interpreter whose scripts are not on the path."""

from polyhead.cli import main

if __name__ == "__main__":
    main()
