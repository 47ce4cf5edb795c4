from typing import Any


def __getattr__(name: str) -> Any:
    """``grouping_softmax``, by name: it needs torch, which configs are checked without."""
    if name == "grouping_softmax":
        from figment.validation.grouping import grouping_softmax

        return grouping_softmax
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
