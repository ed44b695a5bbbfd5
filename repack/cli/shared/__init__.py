"""What several commands are made of: options and their values, keys, printing."""
