"""Errors that a user can mend."""

import errno


class UserError(ValueError):
    """A user's mistake or a fault of the environment: one line that names it and its cure; no traceback is shown."""


MISTAKE = 2
"Exit code of a process that a UserError ended."


def is_disk_full(error: Exception) -> bool:
    """Whether an error of the system or of safetensors, which has no number for it, says that no space is left."""
    return getattr(error, "errno", None) == errno.ENOSPC or f"(os error {errno.ENOSPC})" in str(error)
