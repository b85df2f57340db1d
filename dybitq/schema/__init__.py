"""The shapes of the YAML and JSON files that users write, checked by pydantic."""
