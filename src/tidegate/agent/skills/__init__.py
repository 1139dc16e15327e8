"""Skills: SKILL.md folders found, read, chosen, told to a model and read by it."""
