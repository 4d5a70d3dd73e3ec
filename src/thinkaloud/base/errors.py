"""Errors that a user can mend."""

import errno
import signal


class UserError(ValueError):
    """A user's mistake or a fault of the environment: one line that names it and its cure; no traceback is shown."""


MISTAKE = 2
"Exit code of a process that a UserError ended."
ASKED = 128 + signal.SIGTERM
"Exit code of a process that was asked to end, and did."

CURES = {
    errno.EACCES: "change its owner or mode, or choose another place",
    errno.EPERM: "change its owner or mode, or choose another place",
    errno.EROFS: "choose another place",
    errno.ENOTDIR: "a file stands where a folder is needed: choose another place",
    errno.EEXIST: "a file stands where a folder is needed: choose another place",
    errno.EISDIR: "a folder stands where a file is needed: give a file",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOSPC: "free some space, then the same command again",
    errno.EDQUOT: "free some space, then the same command again",
    errno.EFBIG: "allow larger files (ulimit -f), then the same command again",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENOMEM: "close other programs, or take a smaller model",
}
"What helps against an error of the system that is no fault of ours."


def is_disk_full(error: Exception) -> bool:
    """Whether an error of the system or of safetensors, which has no number for it, says that no space is left."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return getattr(error, "errno", None) in full or any(f"(os error {number})" in str(error) for number in full)


def told(error: OSError) -> str | None:
    """An error of the system in one line with its cure; None for one that a user can't mend."""
    if error.errno not in CURES:
        return None
    place = "" if error.filename is None else f"{error.filename}: "
    words = (error.strerror or "").lower()
    return f"{place}{words}: {CURES[error.errno]}"
