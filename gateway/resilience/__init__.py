"""Trying again, giving up, and keeping one server's trouble from becoming everybody's."""

from gateway.resilience.admission import Admission
from gateway.resilience.config import RateLimit, ResilienceConfig
from gateway.resilience.executor import Executor
from gateway.resilience.owned import OwnedTasks

__all__ = ["Admission", "Executor", "OwnedTasks", "RateLimit", "ResilienceConfig"]
