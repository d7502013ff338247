"""What of the platform's own packages every sandbox may see: azure-functions, and what it needs."""

from __future__ import annotations

import os
from typing import Final

# What azure-functions imports besides the standard library: werkzeug, which imports markupsafe.
# It would take orjson too, if that could be imported; the platform's must not decide that.
OFFERED: Final = ("werkzeug", "markupsafe")
DISTRIBUTIONS: Final = ("azure-functions", "werkzeug", "markupsafe")


def parts(site_dir: str) -> list[str]:
    """Return what of a site directory is offered: these paths, and nothing beside them."""
    try:
        names = os.listdir(site_dir)
    except OSError:
        return []
    offered = tuple(name.replace("-", "_") for name in DISTRIBUTIONS)
    found = [
        n for n in names if n in OFFERED or n.lower().startswith(tuple(f"{o}-" for o in offered))
    ]
    if "azure" in names and os.path.isdir(os.path.join(site_dir, "azure", "functions")):
        found.append("azure/functions")
    return [os.path.join(site_dir, name) for name in found]
