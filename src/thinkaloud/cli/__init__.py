"""The command line: the one place where all rooms meet. Knows every room's front door; nobody imports it.

A verb's heavy rooms are imported when the verb runs, so that no page of help loads torch.
"""
