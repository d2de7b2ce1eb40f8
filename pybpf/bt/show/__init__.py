"""What people and programs read: values, maps and events as text and as JSON, formats of ``printf``."""
