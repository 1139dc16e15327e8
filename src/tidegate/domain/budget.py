"""What a run may spend: model answers, tokens, time."""

import msgspec

from tidegate.clock import MINUTE_MS
from tidegate.domain.run import Usage


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """The most that one run may take."""

    max_steps: int = 50
    max_tokens: int = 2_000_000
    max_runtime_ms: int = 30 * MINUTE_MS

    def within(self, max_tokens: int) -> "Budget":
        """Return this budget with no more than *max_tokens*."""
        return msgspec.structs.replace(self, max_tokens=min(self.max_tokens, max_tokens))

    def spent(self, steps: int, usage: Usage) -> str | None:
        """Say which limit the run has used up, or nothing while it may ask the model again."""
        if steps >= self.max_steps:
            return f"the run has used its {self.max_steps} steps"
        if usage.total >= self.max_tokens:
            return f"the run has used its {self.max_tokens} tokens"
        return None
