"""What is traced, as pure data, and how the parameters of a probe function get their values."""
