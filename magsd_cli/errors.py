"""The errors that users see, one class per exit code of the command-line contract.

A message is one line: ``<file or option>: <reason>; <what to do about it>``.
"""

from __future__ import annotations


class MagsdError(Exception):
    """An error with a one-line explanation; `exit_code` is what the process ends with."""

    exit_code = 1


class UsageError(MagsdError):
    """Bad option, recipe or manifest."""

    exit_code = 2


class NoInputError(MagsdError):
    """There was nothing that could be used as input."""

    exit_code = 4


class ArtifactError(MagsdError):
    """A cache, run, checkpoint or table is missing, damaged or does not fit."""

    exit_code = 5


class LockedError(MagsdError):
    """Another run is writing the same output."""

    exit_code = 6


class OutputError(MagsdError):
    """The output cannot be written: disk full, no permission, closed pipe."""

    exit_code = 7


class DeviceError(MagsdError):
    """The device asked for is not there or is out of memory."""

    exit_code = 8


class DivergedError(MagsdError):
    """Training met a non-finite loss."""

    exit_code = 9


class Interrupted(MagsdError):  # noqa: N818 (an interruption is no error)
    """A signal asked us to stop; what was done is kept."""

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
