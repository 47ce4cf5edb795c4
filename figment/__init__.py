"""Figment: from the names of classes to a trained image classifier.

``figment.run(config)`` runs a config and returns its verdict, ``figment.check(config)`` says what is wrong with one,
``figment.load(folder).predict(images)`` uses a trained model, ``figment.Pool(folder)`` reads the images of a run.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from figment.api import check, load, run
    from figment.synthesis.pool import Pool

    __version__: str

__all__ = ["Pool", "__version__", "check", "load", "run"]


def __getattr__(name: str) -> Any:
    """Each name when it is first asked for: ``import figment`` takes no time."""
    if name == "__version__":
        from importlib.metadata import version

        return version("figment")
    if name == "Pool":
        from figment.synthesis.pool import Pool

        return Pool
    if name in __all__:
        from figment import api

        return getattr(api, name)
    raise AttributeError(f"module 'figment' has no attribute {name!r}")
