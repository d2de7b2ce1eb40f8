"""The user's side: declare probes, load, attach, wait for events, close."""
