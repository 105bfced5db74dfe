"""What a user can ask for: typed arguments, their parsing, and YAML files."""
