"""The platform's own version, as installed."""

from importlib import metadata


def version() -> str:
    """Return the version; "0+unknown" when Taak runs from a folder that was never installed."""
    try:
        return metadata.version("taak")
    except metadata.PackageNotFoundError:
        return "0+unknown"
