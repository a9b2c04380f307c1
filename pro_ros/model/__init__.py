"""The operator: encoders, fusion, temporal model, heads, checkpoint."""
