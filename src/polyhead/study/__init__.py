"""Studies: many runs on one question, and what they say together."""
