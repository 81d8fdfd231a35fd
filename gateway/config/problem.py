"""That a configuration is refused."""

from gateway.model.problem import ProblemsError

__all__ = ["ConfigError"]


class ConfigError(ProblemsError):
    """The configuration is refused as a whole.

    The codes are unreadable, syntax, duplicate_key, unknown_key, missing_key, wrong_value, too_large, or what a failed
    reference says of itself.
    """
