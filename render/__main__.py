"""The `render` command, which is `python -m render` as well. A signal ends it in order from its first moment."""

from __future__ import annotations

from render.stopping import stop_at_once

__all__ = ["main"]


def main() -> int:
    """Run the command; returns its exit code."""
    stop_at_once()  # before what takes seconds to import
    from render.cli import main as command

    return command()


if __name__ == "__main__":
    raise SystemExit(main())
