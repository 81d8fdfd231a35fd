"""That policies are refused."""

from gateway.model.problem import ProblemsError

__all__ = ["PolicyLoadError"]


class PolicyLoadError(ProblemsError):
    """The policies, or the cases that test them, are refused as a whole."""
