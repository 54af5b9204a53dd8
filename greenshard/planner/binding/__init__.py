"""Names to what they mean: relations, columns, views. Knows the declared tables and the catalog."""
