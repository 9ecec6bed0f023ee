"""The verbs, one module each: a Config and run(config) -> Run."""
