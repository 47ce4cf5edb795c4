"""The one exception for what a user gave and can mend."""


class InputError(ValueError):
    """One clear sentence: the file, row or field at fault, what was found there, and what would be right."""
