"""``python -m dybitq``."""

from dybitq.cli.main import main

if __name__ == "__main__":
    main()
