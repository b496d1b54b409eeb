"""``python -m tenantfuzz``."""

from tenantfuzz.cli import main

if __name__ == "__main__":
    main()
