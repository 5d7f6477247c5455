"""Real weights and real speech out of package registries, for tests that are asked for by name."""
