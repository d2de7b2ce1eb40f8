"""What a tracer keeps: maps, aggregates, streams of events; in a probe, and as Python sees them."""
