"""A job for each kind of adaptation: what is learned, from what, and what is kept of it."""
