"""Errors that end a run, each with the exit code of the command line."""


class FarlinkError(Exception):
    """An error with one clear line for the user. *exit_code* is what the command ends with."""

    exit_code = 1


class UsageError(FarlinkError):
    """Bad input: an unknown key, a missing file, a value out of range."""

    exit_code = 2


class BudgetError(UsageError):
    """A frame cannot be encoded in the bytes that it may have."""

    least_bytes: int = 0
    """About how many it would take; 0: not known."""


class PartialError(FarlinkError):
    """The run ended before its end; what was done is in the journal."""

    exit_code = 3


class ModelMissingError(FarlinkError):
    """A model is not on this machine and nothing may be downloaded."""

    exit_code = 4


class FingerprintError(FarlinkError):
    """The two ends do not hold the same codec, tables or weights."""

    exit_code = 5

    def __init__(self, own: str, other: str, *, where: str = "receiver") -> None:
        super().__init__(
            f"the ends disagree: the {where} has fingerprint {own}, packets carry {other}; "
            "both ends need the same farlink version, codec, settings and weights"
        )
        self.own, self.other = own, other


class StorageError(FarlinkError):
    """The disk is full or the folder cannot be written."""

    exit_code = 74
