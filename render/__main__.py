"""`python -m render` is the `render` command."""

from render.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
