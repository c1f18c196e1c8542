"""One example of each method, as it was really answered."""

from typing import Any

EXAMPLES: dict[str, tuple[dict[str, Any], Any]] = {}
