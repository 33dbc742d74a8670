"""What the tests of this room share."""

from quick_export import made, one_thread, quick_export

__all__ = ["made", "one_thread", "quick_export"]
