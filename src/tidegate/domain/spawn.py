"""How far a tree of sub-agents may grow, and what each of them may spend of its parent's budget. Pure."""

import msgspec

MIN_TOKENS = 1_000  # with fewer no model can answer


class SpawnLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The most that a tree may hold; what is finished does not count."""

    #: below a session that is no sub-agent
    depth: int = 2
    #: of one parent
    children: int = 5
    #: of one root, at every depth
    descendants: int = 25


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """Where a parent stands: its own depth, and how many live below it and below its root."""

    depth: int
    children: int
    descendants: int


def refusal(tree: Tree, limits: SpawnLimits) -> str | None:
    """Say why one more child may not be born, in words for a model; nothing if it may."""
    if tree.depth >= limits.depth:
        return f"sub-agents may be nested {limits.depth} deep"
    if tree.children >= limits.children:
        return f"{tree.children} sub-agents are at work already, as many as one agent may have"
    if tree.descendants >= limits.descendants:
        return f"{tree.descendants} sub-agents are at work in this tree already, as many as it may have"
    return None


def share(left: int, children: int, limits: SpawnLimits) -> int:
    """Return the tokens that the next child may spend: an equal part of what is left, one part kept for the parent."""
    return left // (max(1, limits.children - children) + 1)
