"""Tools that need the runtime: sub-agents, jobs, memory, the state of a session."""
