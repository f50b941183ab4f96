"""What the scripts of ``tools/benchmark`` share."""
