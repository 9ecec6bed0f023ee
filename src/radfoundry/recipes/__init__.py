"""The published systems as YAML, and one small runner."""
