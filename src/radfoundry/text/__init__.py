"""Reports and findings: tokens, concepts, negation. No torch here."""
