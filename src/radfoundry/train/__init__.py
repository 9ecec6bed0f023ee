"""How to learn: one loop and the objectives it serves."""
